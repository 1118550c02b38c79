"""Three other right answers for each exercise of lesson 13."""

ANSWERS = {
    "13.1": [
        """
template <typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile,
                          int tile_stride) {
    for (int row = threadIdx.x / 32; row < KEYS; row += blockDim.x / 32) {  // a warp for each row
        for (int column = threadIdx.x % 32; column < head_dim; column += 32) {
            float value = 0.0f;
            if (first + row < count) {
                value = to_float(rows[(int64_t)(first + row) * stride + column]);
            }
            tile[row * tile_stride + column] = value;
        }
    }
}
""",
        """
template <typename T>
__device__ float element(const T* rows, int64_t index, bool exists) {
    return exists ? to_float(rows[index]) : 0.0f;
}

template <typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile,
                          int tile_stride) {
    int i = threadIdx.x;
    while (i < 32 * head_dim) {
        const int r = i / head_dim, c = i - r * head_dim;
        const int64_t token = first + r;
        tile[r * tile_stride + c] = element(rows, token * stride + c, token < count);
        i += blockDim.x;
    }
}
""",
        """
template <typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile,
                          int tile_stride) {
    const int full = min(KEYS, count - first);
    for (int i = threadIdx.x; i < KEYS * head_dim; i += blockDim.x) {
        tile[i / head_dim * tile_stride + i % head_dim] = 0.0f;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < full * head_dim; i += blockDim.x) {
        const T* row = rows + static_cast<int64_t>(first + i / head_dim) * stride;
        tile[i / head_dim * tile_stride + i % head_dim] = to_float(row[i % head_dim]);
    }
}
""",
    ],
    "13.2": [
        """
__device__ float take_scores(float score, Running& row, float& rescale) {
    const float old = row.most;
    row.most = fmaxf(old, warp_max(score));
    const float shift = row.most == -INFINITY ? 0.0f : row.most;
    rescale = expf(old - shift);
    const float weight = expf(score - shift);
    row.sum = row.sum * rescale + warp_sum(weight);
    return weight;
}
""",
        """
__device__ float take_scores(float score, Running& row, float& rescale) {
    float weight = 0.0f;
    rescale = 1.0f;
    const float tile_most = warp_max(score);
    if (tile_most > row.most) {  // the maximum grows
        rescale = expf(row.most - tile_most);
        row.sum *= rescale;
        row.most = tile_most;
    }
    if (row.most > -INFINITY) {
        weight = expf(score - row.most);
    }
    row.sum += warp_sum(weight);
    return weight;
}
""",
        """
__device__ float take_scores(float score, Running& row, float& rescale) {
    float most = score;
    for (int step = 1; step < 32; step *= 2) {
        most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, step));
    }
    most = fmaxf(most, row.most);
    const bool nothing = isinf(most);
    rescale = nothing ? 1.0f : exp2f((row.most - most) * 1.44269504f);
    const float weight = nothing ? 0.0f : exp2f((score - most) * 1.44269504f);
    float sum = weight;
    for (int step = 16; step > 0; step /= 2) {
        sum += __shfl_xor_sync(0xffffffff, sum, step);
    }
    row = {most, row.sum * rescale + sum};
    return weight;
}
""",
    ],
    "13.3": [
        """
template <int TILE, typename T>
__device__ Tiles tiles_that_matter(const Head<T>& head, int first_row) {
    return {head.visible_keys(first_row) / TILE, (head.visible_keys(first_row + TILE - 1) + TILE - 1) / TILE};
}
""",
        """
template <int TILE, typename T>
__device__ Tiles tiles_that_matter(const Head<T>& head, int first_row) {
    const int few = head.visible_keys(first_row);
    const int many = head.visible_keys(min(first_row + TILE, head.q_len) - 1);
    Tiles tiles = {0, 0};
    for (int end = TILE; end <= few; end += TILE) {
        tiles.seen_by_all += 1;
    }
    for (int begin = 0; begin < many; begin += TILE) {
        tiles.to_visit += 1;
    }
    return tiles;
}
""",
        """
template <int TILE, typename T>
__device__ Tiles tiles_that_matter(const Head<T>& head, int first_row) {
    Tiles tiles;
    const int seen = head.visible_keys(first_row + TILE - 1);
    tiles.to_visit = seen / TILE + (seen % TILE > 0);
    tiles.seen_by_all = 0;
    while (tiles.seen_by_all < tiles.to_visit && head.visible_keys(first_row) >= TILE * (tiles.seen_by_all + 1)) {
        ++tiles.seen_by_all;
    }
    return tiles;
}
""",
    ],
}
