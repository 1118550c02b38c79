// Rung 6 of paged decode: the products on tensor cores (mma.sync), for groups of many query heads.
//
// What changed: rung 5 keeps four queries in a warp's registers and multiplies with its ordinary units, so with more
// heads in a group other warps read the same keys again, and the multiplications take longer than the reading. Here the
// heads of a group are the 16 rows of an mma, all warps of a thread block have the same rows, and each key is read
// once. A group of fewer heads leaves rows empty: they cost nothing, since reading is what takes the time.
//
// And there is no second kernel. Of the thread blocks that share a context, the last one to end merges what the others
// have left in memory; a counter for each sequence and head of keys says which one that is.
//
// What it should gain: rung 5's share of the speed of reading, 94%, for up to 16 heads in a group.
//
// What it did gain on an H200 (yaie/bench/results/LEDGER.md): 64 requests of 4,096 tokens, 64 heads on 8 KV heads, in
// 278 us instead of 516, which is 85% of what reading alone reaches; one request of 4,096 tokens, 32 heads on 8, in 13.0
// us instead of 18.0. With up to four heads in a group and long contexts of a large batch rung 5 stays ahead, 261 to 273.
//
// Arguments as for rung 4, for 16-bit types and head_dim up to 128, and
// counters: [num_seqs, num_kv_heads], 0 before and after a launch, of which no two may run at a time; null for 1 split
#include "splits.cuh"
#include "tensor_tiles.cuh"

// The parts of one query head, `head` of all tiles, by a warp: four columns a lane.
template <typename T>
__device__ __forceinline__ void merge_head(const Attention<T>& a, int64_t head, int count, T* out) {
    const int lane = threadIdx.x % 32;
    const float* lses = a.partial_lse + head * a.num_splits;
    const float4* parts = reinterpret_cast<const float4*>(a.partial_out + head * a.num_splits * a.head_dim);
    float largest = -FLT_MAX;
    for (int i = lane; i < count; i += 32) {
        largest = fmaxf(largest, lses[i]);
    }
    largest = warp_max(largest);
    if (4 * lane >= a.head_dim) {
        return;
    }
    float total = 0.0f, sum[4] = {};
#pragma unroll 8
    for (int i = 0; i < count; ++i) {
        const float weight = exp2f(lses[i] - largest);
        const float4 part = parts[i * (a.head_dim / 4) + lane];
        total += weight;
        sum[0] += weight * part.x;
        sum[1] += weight * part.y;
        sum[2] += weight * part.z;
        sum[3] += weight * part.w;
    }
    const float share = 1.0f / total;
    reinterpret_cast<uint2*>(out)[lane] =
        make_uint2(pack<T>(sum[0] * share, sum[1] * share), pack<T>(sum[2] * share, sum[3] * share));
}

// If this is the last thread block of a sequence and head of keys, merge the splits of all query heads of the group.
template <typename T>
__device__ __forceinline__ void merge_splits_if_last(const Attention<T>& a, const Share& share, int* counters) {
    __shared__ bool is_last;
    const int count = splits_of(a, share.tile.w), row_blocks = gridDim.x / a.num_kv_heads;
    int* counter = counters + static_cast<int64_t>(blockIdx.z) * a.num_kv_heads + share.kv_head;
    __threadfence();  // the parts that this thread wrote are there before it counts
    __syncthreads();
    if (threadIdx.x == 0) {
        is_last = atomicAdd(counter, 1) == count * row_blocks - 1;
    }
    __syncthreads();
    if (!is_last) {
        return;
    }
    __threadfence();  // the parts of the others are read after the count
    if (threadIdx.x == 0) {
        *counter = 0;
    }
    const int first_head = share.kv_head * share.group;
    for (int row = threadIdx.x / 32; row < share.group; row += WARPS) {
        const int64_t head = static_cast<int64_t>(blockIdx.z) * a.num_heads + first_head + row;
        const int64_t query_row = static_cast<int64_t>(share.tile.y) * a.num_heads + first_head + row;
        merge_head(a, head, count, a.out + query_row * a.head_dim);
    }
}

template <typename F>
__global__ void __launch_bounds__(THREADS, 3) tensor_cores_kernel(Attention<typename F::Element> a, int* counters) {
    using T = typename F::Element;
    extern __shared__ __align__(128) uint4 shared[];  // tiles: a sector of memory goes to a sector there
    __shared__ float part_lse[F::WARP_ROWS][WARPS];
    const F me;
    Share share = share_of_this_warp(me, a);
    if (share.has_nothing()) {
        return;
    }
    attend(me, a, share, shared, part_lse);
    merge_warps(a, share, parts_of_warps<F>(shared), part_lse);
    if (a.num_splits > 1) {
        merge_splits_if_last(a, share, counters);
    }
}

template <typename F>
static int launch_tensor_cores(Attention<typename F::Element> a, int* counters) {
    a.row_warps = 1;
    const int row_blocks = (a.num_heads / a.num_kv_heads + F::WARP_ROWS - 1) / F::WARP_ROWS;
    if (a.num_splits > MAX_GRID || a.num_tiles > MAX_GRID) {
        return cudaErrorInvalidConfiguration;
    }
    if (const cudaError_t error = allow_shared_memory(tensor_cores_kernel<F>, F::SHARED_BYTES)) {
        return error;
    }
    const dim3 grid(a.num_kv_heads * row_blocks, a.num_splits, a.num_tiles);
    tensor_cores_kernel<F><<<grid, THREADS, F::SHARED_BYTES, a.stream>>>(a, counters);
    return cudaGetLastError();
}

extern "C" int paged_decode_6_tensor_cores(const void* query, const void* key_cache, const void* value_cache,
                                           const int* block_tables, const int* context_lens, const int4* tiles,
                                           void* out, float* partial_out, float* partial_lse, int* counters,
                                           PagedShape shape, cudaStream_t stream) {
    const PagedTensors tensors = {query, key_cache, value_cache, block_tables, context_lens, tiles, out};
    return with_splits(tensors, partial_out, partial_lse, shape, stream, [&](const auto& a) -> int {
        using T = std::remove_const_t<std::remove_pointer_t<decltype(a.query)>>;
        if constexpr (sizeof(T) == 2) {
            return dispatch_head_dim<64, 128>(a.head_dim, [&](auto size) {
                return launch_tensor_cores<Fragments<T, size()>>(a, counters);
            });
        } else {
            return cudaErrorInvalidValue;
        }
    });
}
