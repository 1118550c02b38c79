// Rung 6 of paged decode: the products on tensor cores (mma.sync), for groups of many query heads.
//
// What changed: rung 5 keeps four queries in a warp's registers and multiplies with its ordinary units, so with more
// heads in a group other warps read the same keys again, and the multiplications take longer than the reading. Here the
// heads of a group are the 16 rows of an mma, all warps of a thread block have the same rows, and each key is read
// once. A group of fewer heads leaves rows empty: they cost nothing, since reading is what takes the time.
//
// What it should gain: rung 5's share of the speed of reading, 94%, for up to 16 heads in a group.
//
// What it did gain on an H200 (yaie/bench/results/LEDGER.md): 64 requests of 4,096 tokens, 64 heads on 8 KV heads, in
// 278 us instead of 516, which is 85% of what reading alone reaches; one request of 4,096 tokens, 32 heads on 8, in 13.0
// us instead of 18.0. With up to four heads in a group and long contexts of a large batch rung 5 stays ahead, 261 to 273.
//
// Arguments as for rung 5, for 16-bit types and head_dim up to 128.
#include "tensor_tiles.cuh"

template <typename F>
__global__ void __launch_bounds__(THREADS, 3) tensor_cores_kernel(Attention<typename F::Element> a) {
    using T = typename F::Element;
    extern __shared__ __align__(128) uint4 shared[];  // tiles: a sector of memory goes to a sector there
    const F me;
    Share share = share_of_this_warp(me, a);
    if (share.has_nothing()) {
        return;
    }
    const int num_splits = splits_of(a, share.tile.w);
    RunningRows running;
    float sums[F::CHUNKS][4] = {};
    attend<false>(me, a, share, shared, running, sums);
    merge_warps_of_tile(me, a, share, running, sums, shared, num_splits == 1, [&](int row) {
        const int head = share.kv_head * share.group + share.first_row + row;
        return (static_cast<int64_t>(blockIdx.z) * a.num_heads + head) * a.num_splits + blockIdx.y;
    });
    if (num_splits > 1) {
        merge_splits_if_last(a, share.tile.y, share.kv_head, num_splits, num_splits * (gridDim.x / a.num_kv_heads));
    }
}

template <typename F>
static int launch_tensor_cores(Attention<typename F::Element> a) {
    a.row_warps = 1;
    const int row_blocks = (a.num_heads / a.num_kv_heads + F::WARP_ROWS - 1) / F::WARP_ROWS;
    if (a.num_splits > MAX_GRID || a.num_tiles > MAX_GRID) {
        return cudaErrorInvalidConfiguration;
    }
    if (const cudaError_t error = allow_shared_memory(tensor_cores_kernel<F>, F::SHARED_BYTES)) {
        return error;
    }
    const dim3 grid(a.num_kv_heads * row_blocks, a.num_splits, a.num_tiles);
    tensor_cores_kernel<F><<<grid, THREADS, F::SHARED_BYTES, a.stream>>>(a);
    return cudaGetLastError();
}

extern "C" int paged_decode_6_tensor_cores(const void* query, const void* key_cache, const void* value_cache,
                                           const int* block_tables, const int* context_lens, const int4* tiles,
                                           void* out, float* partial_out, float* partial_lse, int* counters,
                                           PagedShape shape, cudaStream_t stream) {
    const PagedTensors tensors = {query, key_cache, value_cache, block_tables, context_lens, tiles, out};
    return with_splits(tensors, partial_out, partial_lse, counters, shape, stream, [&](const auto& a) -> int {
        using T = std::remove_const_t<std::remove_pointer_t<decltype(a.query)>>;
        if constexpr (sizeof(T) == 2) {
            return dispatch_head_dim<64, 128>(a.head_dim, [&](auto size) {
                return launch_tensor_cores<Fragments<T, size()>>(a);
            });
        } else {
            return cudaErrorInvalidValue;
        }
    });
}
