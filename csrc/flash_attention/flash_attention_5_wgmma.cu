// Rung 5 of flash attention, for Hopper: tiles copied by TMA, both matrix products by wgmma. fp16 and bf16.
//
// What changed:
// - One warp, the producer, starts the copies: TMA copies a whole tile when one thread asks for it, swizzles it on the
//   way, and counts the bytes that have landed at a barrier in shared memory (mbarrier). No registers, no addresses.
// - A warpgroup, the consumer, computes: wgmma multiplies 64 rows by a whole tile of keys. It reads both operands from
//   shared memory, where rung 4 fetched them into registers with ldmatrix first, and it is asynchronous.
// - Three slots for tiles go round between them, for keys and values in turn (Ring in hopper.cuh). Nobody waits at a
//   barrier of the whole block: the producer waits for an empty slot, the consumer for a full one.
// - Keys are walked from the last tile to the first: tiles with a mask, and the one that is not full, come first.
//
// What it should gain: rung 4 stays below half of what an H100's tensor cores can do, with mma.sync and a ldmatrix for
// each operand. Here softmax and products still wait for each other, and only the other thread block of a
// multiprocessor fills the gaps: the aim is 480 TFLOP/s for 4 x 4096 tokens.
//
// What it did gain (one H100 80GB, 2026-11-28): 527 TFLOP/s in that case with a causal mask and 580 without; rung 4 made
// 345 and 371.
//
// Arguments as problem.cuh says; head_dim 64 or 128, all pointers 16-byte aligned, scale above 0. total_q, total_k: the
// rows of query and of key. (Pages: see rung 6.)
#include "hopper.cuh"

constexpr int ROWS = 64, KEYS = 128, SLOTS = 3;
constexpr int THREADS = WARPGROUP + 32;  // the consumer, and the producer's warp

template <int HEAD_DIM>
struct Shared {
    char queries[TILE_BYTES<ROWS, HEAD_DIM>];
    char slots[SLOTS * TILE_BYTES<KEYS, HEAD_DIM>];
    Ring<SLOTS> ring;
    Ring<1> queries_ring;  // used once
};

// Copy the queries, and of each tile the keys and then the values.
template <typename T, int HEAD_DIM>
__device__ __forceinline__ void produce(Shared<HEAD_DIM>& shared, const CUtensorMap& query_map,
                                        const CUtensorMap& key_map, const CUtensorMap& value_map, const T* key,
                                        const T* value, const Queries& queries, int key_stride) {
    constexpr int PARTS = HEAD_DIM / PART;
    if (threadIdx.x % 32 == 0) {
        uint64_t* full = &shared.queries_ring.full[0];
        yaie::mbarrier_arrive_expect_tx(full, TILE_BYTES<ROWS, HEAD_DIM>);
        for (int part = 0; part < PARTS; ++part) {
            yaie::tma_load(shared.queries + part * (ROWS * PART_BYTES), &query_map, full, 0, queries.first_q,
                           queries.head * PARTS + part);
        }
    }
    Producer<T, HEAD_DIM, KEYS, 1, SLOTS, false> producer = {&shared.ring, shared.slots, Pages{}, 0, 0, key_stride, 0};
    for (int tile = queries.num_tiles<KEYS>(1) - 1; tile >= 0; --tile) {
        const int row = producer.find(queries, tile * KEYS);
        producer.load(queries, tile * KEYS, row, &key_map, key);
        producer.load(queries, tile * KEYS, row, &value_map, value);
    }
}

// The scores of the tile of keys in use n of the ring, for the 64 queries; its slot is given back. By all threads of the
// consumer.
template <typename T, int HEAD_DIM>
__device__ __forceinline__ void score_tile(float (&scores)[KEYS / 2], const char* queries, const char* slots,
                                           Ring<SLOTS>& ring, unsigned n) {
    yaie::mbarrier_wait(&ring.full[n % SLOTS], n / SLOTS % 2);
    yaie::fence_proxy_async();  // the last tile of a sequence is copied by threads
    start_scores<T, HEAD_DIM, ROWS, KEYS>(scores, queries, 0, slots + n % SLOTS * TILE_BYTES<KEYS, HEAD_DIM>);
    yaie::wgmma_wait<0>();  // until then the tile is being read
    yaie::wgmma_keep(scores);
    if (threadIdx.x == 0) {
        yaie::mbarrier_arrive(&ring.empty[n % SLOTS]);
    }
}

// Attend with 64 rows, and write them.
template <typename T, int HEAD_DIM>
__device__ __forceinline__ void consume(Shared<HEAD_DIM>& shared, const Queries& queries, T* out, int query_stride,
                                        float scale_log2) {
    constexpr int BYTES = TILE_BYTES<KEYS, HEAD_DIM>;
    float sums[HEAD_DIM / 2] = {};
    RunningRows running;
    Softmax softmax = {scale_log2};
    unsigned n = 0;
    shared.queries_ring.wait_full(0);
#pragma unroll 1
    for (int tile = queries.num_tiles<KEYS>(1) - 1; tile >= 0; --tile, n += 2) {
        float scores[KEYS / 2];
        uint32_t weights[KEYS / 16][4];
        score_tile<T, HEAD_DIM>(scores, shared.queries, shared.slots, shared.ring, n);
        if (tile * KEYS + KEYS > queries.visible_keys(0)) {
            mask_scores(scores, {queries.visible_keys(own_row(0)) - tile * KEYS,
                                 queries.visible_keys(own_row(1)) - tile * KEYS});
        }
        take_scores(scores, running, softmax);
        rescale(sums, softmax.factors);
        pack_weights<T>(scores, weights);
        shared.ring.wait_full(n + 1);
        yaie::fence_proxy_async();
        start_sums<T, HEAD_DIM, KEYS>(sums, weights, shared.slots + (n + 1) % SLOTS * BYTES);
        yaie::wgmma_wait<0>();
        yaie::wgmma_keep(sums);
        if (threadIdx.x == 0) {
            shared.ring.release(n + 1);
        }
    }
    T* targets[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = own_row(half);
        const int64_t to_row = static_cast<int64_t>(queries.first_q + row) * query_stride + queries.head * HEAD_DIM;
        targets[half] = row < queries.num_rows ? out + to_row : nullptr;
    }
    write_rows<T>(sums, running, targets);
}

template <typename T, int HEAD_DIM>
__global__ void __launch_bounds__(THREADS, 2)
    wgmma_kernel(const __grid_constant__ CUtensorMap query_map, const __grid_constant__ CUtensorMap key_map,
                 const __grid_constant__ CUtensorMap value_map, const T* key, const T* value, T* out, Problem problem) {
    extern __shared__ __align__(1024) char memory[];
    Shared<HEAD_DIM>& shared = *reinterpret_cast<Shared<HEAD_DIM>*>(memory);
    // With a mask the last rows have most to do: they come first.
    const Queries queries = queries_of<ROWS>(problem, blockIdx.z, blockIdx.y, gridDim.x - 1 - blockIdx.x);
    if (queries.num_rows == 0) {
        return;
    }
    if (threadIdx.x == 0) {
        for (const CUtensorMap* map : {&query_map, &key_map, &value_map}) {
            yaie::tma_prefetch_map(map);
        }
        shared.ring.init(1, 1);
        shared.queries_ring.init(1, 1);
        yaie::fence_mbarrier_init();
    }
    __syncthreads();
    if (threadIdx.x >= WARPGROUP) {
        produce<T>(shared, query_map, key_map, value_map, key, value, queries, problem.num_kv_heads * HEAD_DIM);
    } else {
        consume<T>(shared, queries, out, problem.num_heads * HEAD_DIM, problem.scale * LOG2_E);
    }
}

template <typename T, int HEAD_DIM>
static int launch(const void* query, const void* key, const void* value, void* out, int num_seqs, int max_q_len,
                  int total_q, int total_k, const Problem& problem, cudaStream_t stream) {
    CUtensorMap query_map, key_map, value_map;
    cudaError_t error = map_of_rows<T>(&query_map, query, total_q, problem.num_heads, HEAD_DIM, ROWS);
    error = error ? error : map_of_rows<T>(&key_map, key, total_k, problem.num_kv_heads, HEAD_DIM, KEYS);
    error = error ? error : map_of_rows<T>(&value_map, value, total_k, problem.num_kv_heads, HEAD_DIM, KEYS);
    error = error ? error : allow_shared_memory(wgmma_kernel<T, HEAD_DIM>, sizeof(Shared<HEAD_DIM>));
    if (error) {
        return error;
    }
    const dim3 grid((max_q_len + ROWS - 1) / ROWS, problem.num_heads, num_seqs);
    wgmma_kernel<T, HEAD_DIM><<<grid, THREADS, sizeof(Shared<HEAD_DIM>), stream>>>(
        query_map, key_map, value_map, static_cast<const T*>(key), static_cast<const T*>(value), static_cast<T*>(out),
        problem);
    return cudaGetLastError();
}

extern "C" int flash_attention_5_wgmma(const void* query, const void* key, const void* value, void* out,
                                       const int* cu_seqlens_q, const int* cu_seqlens_k, int num_seqs, int max_q_len,
                                       int total_q, int total_k, int num_heads, int num_kv_heads, int head_dim,
                                       float scale, int causal, int dtype, cudaStream_t stream) {
    const Problem problem = {cu_seqlens_q, cu_seqlens_k, num_heads, num_kv_heads, head_dim, scale, causal != 0};
    if (num_seqs == 0 || max_q_len == 0) {
        return cudaSuccess;
    }
    return dispatch_hopper(problem, dtype, [&](auto* type, auto size) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        return launch<T, size()>(query, key, value, out, num_seqs, max_q_len, total_q, total_k, problem, stream);
    });
}
