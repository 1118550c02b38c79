"""Three other right answers for each exercise of lesson 09."""

ANSWERS = {
    "9.1": [
        """
template <typename Unit>
__global__ void copy_blocks_kernel(Unit* key_cache, Unit* value_cache, const int64_t* block_mapping,
                                   int64_t num_blocks, int64_t units_per_block) {
    const int64_t* pair = block_mapping + 2 * blockIdx.x;
    Unit* cache = blockIdx.z ? value_cache : key_cache;
    const int64_t first = blockIdx.y * num_blocks;
    const Unit* from = cache + (first + pair[0]) * units_per_block;
    Unit* to = cache + (first + pair[1]) * units_per_block;
    int64_t i = threadIdx.x;
    while (i < units_per_block) {
        to[i] = from[i];
        i += blockDim.x;
    }
}
""",
        """
template <typename Unit>
__device__ void copy_row(Unit* to, const Unit* from, int64_t n) {
    for (int64_t start = 0; start < n; start += blockDim.x) {
        if (start + threadIdx.x < n) {
            to[start + threadIdx.x] = from[start + threadIdx.x];
        }
    }
}

template <typename Unit>
__global__ void copy_blocks_kernel(Unit* keys, Unit* values, const int64_t* mapping, int64_t num_blocks,
                                   int64_t units) {
    const auto where = [=](int64_t block) { return (int64_t(blockIdx.y) * num_blocks + block) * units; };
    const int64_t source = mapping[2 * blockIdx.x], target = mapping[2 * blockIdx.x + 1];
    if (blockIdx.z == 0) {
        copy_row(keys + where(target), keys + where(source), units);
    } else {
        copy_row(values + where(target), values + where(source), units);
    }
}
""",
        """
template <typename Unit>
__global__ void copy_blocks_kernel(Unit* __restrict__ key_cache, Unit* __restrict__ value_cache,
                                   const int64_t* __restrict__ block_mapping, const int64_t num_blocks,
                                   const int64_t units_per_block) {
    for (unsigned i = threadIdx.x; i < units_per_block; i += blockDim.x) {
        Unit* caches[2] = {key_cache, value_cache};
        Unit* layer = caches[blockIdx.z] + (num_blocks * units_per_block) * blockIdx.y;
        Unit copied = layer[block_mapping[blockIdx.x * 2] * units_per_block + i];
        layer[block_mapping[blockIdx.x * 2 + 1] * units_per_block + i] = copied;
    }
}
""",
    ],
    "9.2": [
        """
template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    int64_t slot = slot_mapping[blockIdx.x];
    if (slot >= 0) {
        key += blockIdx.x * units_per_token;
        value += blockIdx.x * units_per_token;
        key_cache += slot * units_per_token;
        value_cache += slot * units_per_token;
        for (int64_t i = threadIdx.x; i < units_per_token; i += blockDim.x) {
            key_cache[i] = key[i];
            value_cache[i] = value[i];
        }
    }
}
""",
        """
template <typename Unit>
__device__ void write_row(Unit* cache, const Unit* rows, int64_t slot, int64_t n) {
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        cache[slot * n + i] = rows[blockIdx.x * n + i];
    }
}

template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    if (slot_mapping[blockIdx.x] < 0) return;
    write_row(key_cache, key, slot_mapping[blockIdx.x], units_per_token);
    write_row(value_cache, value, slot_mapping[blockIdx.x], units_per_token);
}
""",
        """
template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    const int64_t slot = slot_mapping[blockIdx.x];
    const bool skip = slot <= -1;
    for (int64_t i = threadIdx.x; !skip && i < units_per_token; i += blockDim.x) {
        const int64_t from = static_cast<int64_t>(blockIdx.x) * units_per_token + i;
        const int64_t to = slot * units_per_token + i;
        const Unit k = key[from], v = value[from];
        key_cache[to] = k;
        value_cache[to] = v;
    }
}
""",
    ],
    "9.3": [
        """
template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    __shared__ float tile[32 * (32 + PAD)];
    const int tx = threadIdx.x, ty = threadIdx.y;
    const int r = blockIdx.y * 32 + ty, c = blockIdx.x * 32 + tx;
    if (r < rows && c < cols) tile[ty * (32 + PAD) + tx] = x[(int64_t)r * cols + c];
    __syncthreads();
    const int r2 = blockIdx.x * 32 + ty, c2 = blockIdx.y * 32 + tx;
    if (r2 < cols && c2 < rows) y[(int64_t)r2 * rows + c2] = tile[tx * (32 + PAD) + ty];
}
""",
        """
template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    __shared__ float column_of[TILE][TILE + PAD];  // transposed when it is written
    const int row = blockIdx.y * blockDim.y + threadIdx.y;
    const int col = blockIdx.x * blockDim.x + threadIdx.x;
    if (row < rows && col < cols) {
        column_of[threadIdx.x][threadIdx.y] = x[static_cast<int64_t>(row) * cols + col];
    }
    __syncthreads();
    const int64_t to_row = blockIdx.x * TILE + threadIdx.y;
    const int64_t to_col = blockIdx.y * TILE + threadIdx.x;
    if (to_row >= cols || to_col >= rows) {
        return;
    }
    y[to_row * rows + to_col] = column_of[threadIdx.y][threadIdx.x];
}
""",
        """
struct Place {
    int row, col;
};

__device__ Place place(unsigned block_row, unsigned block_col) {
    return {static_cast<int>(block_row * TILE + threadIdx.y), static_cast<int>(block_col * TILE + threadIdx.x)};
}

template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    __shared__ float tile[TILE][TILE + PAD];
    const Place in = place(blockIdx.y, blockIdx.x);
    float value = 0;
    if (in.row < rows && in.col < cols) value = x[static_cast<int64_t>(in.row) * cols + in.col];
    tile[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    const Place out = place(blockIdx.x, blockIdx.y);
    if (out.row < cols && out.col < rows) {
        y[static_cast<int64_t>(out.row) * rows + out.col] = tile[threadIdx.x][threadIdx.y];
    }
}
""",
    ],
    "9.4": [
        """
__global__ void reduce_2_kernel(const float* x, float* total, int64_t n) {
    __shared__ float sums[256];
    const int t = threadIdx.x;
    const int64_t i = (int64_t)blockIdx.x * 256 + t;
    sums[t] = 0;
    if (i < n) sums[t] = x[i];
    for (int left = 256; left > 1; left /= 2) {
        __syncthreads();
        if (t < left / 2) sums[t] += sums[t + left / 2];
    }
    if (t == 0) atomicAdd(total, sums[0]);
}
""",
        """
__global__ void reduce_2_kernel(const float* x, float* total, int64_t n) {
    __shared__ float partial[THREADS];
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    partial[threadIdx.x] = i < n ? x[i] : 0.0f;
    __syncthreads();
    for (int step = 1; step < THREADS; step *= 2) {
        if (threadIdx.x % (2 * step) == 0) {
            partial[threadIdx.x] += partial[threadIdx.x + step];
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        atomicAdd(&total[0], *partial);
    }
}
""",
        """
__device__ float element(const float* x, int64_t i, int64_t n) {
    return i < n ? x[i] : 0.0f;
}

__global__ void reduce_2_kernel(const float* x, float* total, int64_t n) {
    __shared__ float partial[THREADS];
    float sum = element(x, static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x, n);
    partial[threadIdx.x] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half >>= 1) {
        if (threadIdx.x < half) {
            sum += partial[threadIdx.x + half];
            partial[threadIdx.x] = sum;
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        atomicAdd(total, sum);
    }
}
""",
    ],
}
