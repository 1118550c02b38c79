"""Three other right answers for each exercise of lesson 10: other inputs that tell, and other ways to mend."""


def gives(name: str, *bodies: str) -> tuple[str, ...]:
    return tuple(f"def {name}():\n    {body}\n" for body in bodies)


COPY = """
template <typename Unit>
__global__ void copy_blocks_kernel(Unit* key_cache, Unit* value_cache, const int64_t* block_mapping,
                                   int64_t num_blocks, int64_t units_per_block) {
    const int64_t source = block_mapping[2 * blockIdx.x];
    const int64_t target = block_mapping[2 * blockIdx.x + 1];
    Unit* cache = blockIdx.z == 0 ? key_cache : value_cache;
    Unit* layer = cache + blockIdx.y * num_blocks * units_per_block;
    LOOP
}
"""
SILU = """
template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    const int64_t row = blockIdx.x;
    const int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= packs) {
        return;
    }
    const Pack<T, N> gate = gate_up[row * 2 * packs + i];
    const Pack<T, N> up = gate_up[row * 2 * packs + packs + i];
    Pack<T, N> result;
    for (int e = 0; e < N; ++e) {
        const float z = to_float(gate.at[e]);
        SILU
        result.at[e] = from_float<T>(to_float(silu) * to_float(up.at[e]));
    }
    out[row * packs + i] = result;
}
"""
GATHER = """
template <typename Unit>
__global__ void gather_pages_kernel(const Unit* cache, const int64_t* block_table, Unit* out, int block_size,
                                    int64_t units_per_token) {
    const int64_t position = blockIdx.x;
    SLOT
    for (int64_t i = threadIdx.x; i < units_per_token; i += blockDim.x) {
        out[position * units_per_token + i] = cache[slot * units_per_token + i];
    }
}
"""
TRANSPOSE = """
template <int PAD>
__global__ void transpose_tile_kernel(const float* x, float* y, int rows, int cols) {
    __shared__ float tile[TILE][TILE + PAD];
    const int col = blockIdx.x * TILE + threadIdx.x;
    const int row = blockIdx.y * TILE + threadIdx.y;
    if (row < rows && col < cols) {
        tile[threadIdx.y][threadIdx.x] = x[static_cast<int64_t>(row) * cols + col];
    }
    __syncthreads();
    const int out_col = blockIdx.y * TILE + threadIdx.x;
    const int out_row = blockIdx.x * TILE + threadIdx.y;
    WRITE
}
"""
STORE = """
template <typename Unit>
__global__ void reshape_and_cache_kernel(const Unit* key, const Unit* value, Unit* key_cache, Unit* value_cache,
                                         const int64_t* slot_mapping, int64_t units_per_token) {
    const int64_t token = blockIdx.x;
    const int64_t slot = slot_mapping[token];
    BODY
}
"""
REDUCE_2 = """
__global__ void reduce_2_kernel(const float* x, float* total, int64_t n) {
    __shared__ float partial[THREADS];
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    LOAD
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            partial[threadIdx.x] += partial[threadIdx.x + half];
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        atomicAdd(total, partial[0]);
    }
}
"""
SCORES = """
__device__ float take_scores(float score, Running& row, float& rescale) {
    const float most = fmaxf(row.most, warp_max(score));
    if (most == -INFINITY) {
        rescale = 1.0f;
        return 0.0f;
    }
    BODY
}
"""
REDUCE_3 = """
__global__ void reduce_3_kernel(const float* x, float* total, int64_t n) {
    __shared__ float of_warp[THREADS / 32];
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    float sum = 0.0f;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
        sum += x[i];
    }
    sum = warp_sum(sum);
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    if (lane == 0) {
        of_warp[warp] = sum;
    }
    __syncthreads();
    END
}
"""
LOOKUP = "def find_shared_prefixes(self, token_ids):\n    tokens = as_int_array(token_ids, 'token_ids')\n"
APPEND = """
def append_tokens(self, request_id, num_tokens=1):
    table = self._table(request_id)
    _positive_int("num_tokens", num_tokens)
    context_len = self.context_lens[request_id]
    num_new_blocks = self.blocks_needed(context_len + num_tokens) - len(table)
    copies_tail = context_len % self.block_size != 0 and self.ref_counts[table[-1]] > 1
    CHECK
    if copies_tail:
        self.copy_on_write(request_id, len(table) - 1)
    table.extend(self._take_blocks(request_id, num_new_blocks))
    self.context_lens[request_id] = context_len + num_tokens
    return self.slot_mapping(request_id, context_len)
"""
MATCH = """
def match(self, tokens, namespace=None):
    tokens = radix_tree.as_int_array(tokens, "tokens")
    position = radix_tree.match_prefix(self._root_of(namespace), tokens, self.page_size)
    if position.length == 0:
        return PrefixMatch(0, np.empty(0, dtype=np.int64), self.root)
    node = radix_tree.cut_at(position, self.page_size)
    path = radix_tree.path_to(node)
    TOUCH
    return PrefixMatch(position.length, np.concatenate([step.payload.slots for step in path]), node)
"""
SCHEDULE = """
def schedule(self):
    batch = {}
    budget = self.max_num_batched_tokens
    self.preempted = []
    for request in ORDER:
        if request.status is not Status.RUNNING:
            continue
        while not self.pages.grow(request):
            victim = self.preempt()
            budget += batch.pop(victim, 0)
            if victim is request:
                break
        else:
            if num_tokens := self.chunk_size(request, budget):
                batch[request] = num_tokens
                budget -= num_tokens
    if budget and not self.preempted:
        for request in self.admit(budget):
            batch[request] = self.chunk_size(request, budget)
            budget -= batch[request]
    return batch
"""

ANSWERS = {
    "10.1": gives("floats_per_block", "return 300", "return 4096", "threads = 256\n    return threads + 8"),
    "10.2": tuple(
        COPY.replace("LOOP", loop)
        for loop in (
            """int64_t i = threadIdx.x;
    while (i < units_per_block) {
        layer[target * units_per_block + i] = layer[source * units_per_block + i];
        i += blockDim.x;
    }""",
            """Unit* to = layer + target * units_per_block;
    const Unit* from = layer + source * units_per_block;
    for (int64_t first = 0; first < units_per_block; first += blockDim.x) {
        if (first + threadIdx.x < units_per_block) to[first + threadIdx.x] = from[first + threadIdx.x];
    }""",
            """if (threadIdx.x == 0) {
        for (int64_t i = 0; i < units_per_block; ++i) {
            layer[target * units_per_block + i] = layer[source * units_per_block + i];
        }
    }""",
        )
    ),
    "10.3": gives(
        "stored_and_asked", "return [5, 6, 7], [5, 6, 8, 9]", "return [1], [1, 2]", "return ([4, 4], [4, 5])"
    ),
    "10.4": (
        LOOKUP
        + "    found = match_prefix(self.root, tokens)\n"
        + "    if not found.length:\n        return [], 0\n    return self._ids_below(found.node), found.length\n",
        LOOKUP
        + "    node, _, n = match_prefix(self.root, tokens)\n"
        + "    return (self._ids_below(node), n) if n > 0 else ([], n)\n",
        LOOKUP
        + "    node, inside, length = match_prefix(self.root, tokens)\n"
        + "    ids = self._ids_below(node)\n    return ids[: len(ids) * (length > 0)], length\n",
    ),
    "10.5": gives("gate_value", "return 89.0", "return 1000", "return 2 ** 8"),
    "10.6": tuple(
        SILU.replace("SILU", line)
        for line in (
            "const float gate_ = 1.0f / (1.0f + expf(-z));\n        const T silu = from_float<T>(z * gate_);",
            "const T silu = from_float<T>(z > 0.0f ? z / (1.0f + expf(-z)) : z * expf(z) / (1.0f + expf(z)));",
            "const T silu = from_float<T>(0.5f * z * (1.0f + tanhf(0.5f * z)));",
        )
    ),
    "10.7": gives("block_table", "return [7, 0]", "return [0, 2, 1]", "return list(range(7, -1, -1))"),
    "10.8": tuple(
        GATHER.replace("SLOT", lines)
        for lines in (
            "const int64_t block = block_table[position / block_size];\n"
            "    const int64_t slot = block * block_size + position % block_size;",
            "const int64_t entry = position / block_size;\n"
            "    const int64_t slot = (block_table[entry] - entry) * block_size + position;",
            "int64_t entry = 0, row = position;\n"
            "    while (row >= block_size) {\n        row -= block_size;\n        ++entry;\n    }\n"
            "    const int64_t slot = row + block_size * block_table[entry];",
        )
    ),
    "10.9": gives("rows_and_columns", "return 2, 3", "return 70, 1", "return (64, 32)"),
    "10.10": tuple(
        TRANSPOSE.replace("WRITE", lines)
        for lines in (
            """if (out_row >= cols || out_col >= rows) return;
    y[static_cast<int64_t>(out_row) * rows + out_col] = tile[threadIdx.x][threadIdx.y];""",
            """const int height = cols, width = rows;
    if (out_row < height && out_col < width) {
        y[static_cast<int64_t>(out_row) * width + out_col] = tile[threadIdx.x][threadIdx.y];
    }""",
            """if (out_col < rows) {
        if (out_row < cols) {
            y[out_row * static_cast<int64_t>(rows) + out_col] = tile[threadIdx.x][threadIdx.y];
        }
    }""",
        )
    ),
    "10.11": gives("slots_of_new_tokens", "return [0, -1, 2]", "return [-4, -4]", "return (1, -2)"),
    "10.12": tuple(
        STORE.replace("BODY", lines)
        for lines in (
            """if (slot >= 0) {
        for (int64_t i = threadIdx.x; i < units_per_token; i += blockDim.x) {
            key_cache[slot * units_per_token + i] = key[token * units_per_token + i];
            value_cache[slot * units_per_token + i] = value[token * units_per_token + i];
        }
    }""",
            """for (int64_t i = threadIdx.x; i < units_per_token && slot > -1; i += blockDim.x) {
        key_cache[slot * units_per_token + i] = key[token * units_per_token + i];
        value_cache[slot * units_per_token + i] = value[token * units_per_token + i];
    }""",
            """const int64_t units = slot < 0 ? 0 : units_per_token;
    for (int64_t i = threadIdx.x; i < units; i += blockDim.x) {
        key_cache[slot * units + i] = key[token * units + i];
        value_cache[slot * units + i] = value[token * units + i];
    }""",
        )
    ),
    "10.13": gives("pool_and_tokens", "return (2, 3, 2)", "return 3, 5, 4", "return [4, 2, 12]"),
    "10.14": tuple(
        APPEND.replace("CHECK", lines)
        for lines in (
            "num_copies = 1 if copies_tail else 0\n    self._require_free(request_id, num_copies + num_new_blocks)",
            "self._require_free(request_id, num_new_blocks + int(bool(copies_tail)))",
            "if copies_tail:\n        self._require_free(request_id, num_new_blocks + 1)\n"
            "    else:\n        self._require_free(request_id, num_new_blocks)",
        )
    ),
    "10.15": gives(
        "prompts_in_order",
        "return [[5, 6], [5, 6], [5, 6], [7]]",
        "return [[1], [2], [1], [1], [2], [3], [3]]",
        "return ([[3]] * 4 + [[4]])",
    ),
    "10.16": tuple(
        MATCH.replace("TOUCH", line)
        for line in (
            "self._touch(path, 1)",
            "one = 1\n    self._touch(path, hits=one)",
            "self._touch(path)\n    for step in path:\n        step.payload.hits += 1",
        )
    ),
    "10.17": gives("numbers_to_add", "return 300", "return 257", "return 4095"),
    "10.18": tuple(
        REDUCE_2.replace("LOAD", lines)
        for lines in (
            "float mine = 0.0f;\n    if (i < n) {\n        mine = x[i];\n    }\n    partial[threadIdx.x] = mine;",
            "partial[threadIdx.x] = i >= n ? 0.0f : x[i];",
            "partial[threadIdx.x] = 0.0f;\n    if (i < n) partial[threadIdx.x] += x[i];",
        )
    ),
    "10.19": gives(
        "arrivals", "return [(0, 1), (2, 40)]", "return [(0, 3), (1, 40), (2, 8)]", "return [(0, 8), (1, 17)]"
    ),
    "10.20": tuple(
        SCHEDULE.replace("ORDER", order)
        for order in (
            "sorted(self.running, key=lambda request: request.is_decode, reverse=True)",
            "[r for r in self.running if r.is_decode] + [r for r in self.running if not r.is_decode]",
            "sorted(list(self.running), key=lambda request: 0 if request.is_decode else 1)",
        )
    ),
    "10.21": gives(
        "scores_of_keys",
        "return [float(j) / 10 for j in range(100)]",
        "return [0] * 64 + [5]",
        "return [1.0] * 32 + [2.0, 0.0]",
    ),
    "10.22": tuple(
        SCORES.replace("BODY", lines)
        for lines in (
            """rescale = expf(row.most - most);
    const float weight = expf(score - most);
    row = {most, row.sum * rescale + warp_sum(weight)};
    return weight;""",
            """const float weight = expf(score - most);
    rescale = 1.0f / expf(most - row.most);
    row.sum = row.sum * rescale + warp_sum(weight);
    row.most = most;
    return weight;""",
            """const float grown = most - row.most;
    rescale = grown > 0.0f ? expf(-grown) : 1.0f;
    row.sum *= rescale;
    const float weight = expf(score - most);
    row.sum += warp_sum(weight);
    row.most = most;
    return weight;""",
        )
    ),
    "10.23": gives("numbers_that_race", "return 512", "return 4096", "return 2 * 256 + 1"),
    "10.24": tuple(
        REDUCE_3.replace("END", lines)
        for lines in (
            """if (warp == 0) {
        sum = warp_sum(lane < THREADS / 32 ? of_warp[lane] : 0.0f);
    }
    if (threadIdx.x == 0) {
        atomicAdd(total, sum);
    }""",
            """if (threadIdx.x == 0) {
        float of_block = 0.0f;
        for (int w = 0; w < THREADS / 32; ++w) {
            of_block += of_warp[w];
        }
        atomicAdd(&total[0], of_block);
    }""",
            """if (lane == 0) {
        atomicAdd(total, of_warp[warp]);
    }""",
        )
    ),
}
