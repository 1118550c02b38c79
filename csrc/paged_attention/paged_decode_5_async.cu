// Rung 5 of paged decode: what is in flight waits in shared memory (cp.async) instead of registers.
//
// What changed: a whole tile more is in flight, and a multiprocessor has room for four thread blocks instead of three.
// For 16-bit types, head_dim up to 128 and groups of up to four heads; else it is rung 4.
//
// And there is no second kernel. Of the thread blocks that share a context, the last one to end merges what the others
// have left in memory; a counter for each sequence and head of keys says which one that is.
//
// What it did gain on an H100 (README.md): 3 percent, to 94% of what reading alone reaches.
//
// Arguments as for rung 4, and
// counters: [num_seqs, num_kv_heads], 0 before and after a launch, of which no two may run at a time; null for 1 split
#include "grouped.cuh"
#include "yaie_ptx.cuh"

constexpr int STAGES = 2;  // tiles of a warp in shared memory: one is worked on, one is in flight

// Start copying a lane's pieces of the keys (or values) of a tile, each 32 further than the one before.
template <typename L, typename T>
__device__ __forceinline__ void copy_pieces(const L& me, uint4* to, const T* rows, const RowOffsets<L>& offsets,
                                            int head_dim) {
#pragma unroll
    for (int round = 0; round < L::ROUNDS; ++round) {
#pragma unroll
        for (int j = 0; j < L::CHUNKS; ++j) {
            const int d = (me.member + j * L::LANES) * L::PIECE;
            const bool inside = d < head_dim;  // beyond it, zeros are stored and nothing is read
            yaie::cp_async_16(to + (round * L::CHUNKS + j) * 32,
                              rows + offsets[round] + (inside ? d : 0), inside ? 16 : 0);
        }
    }
}

// Copies a warp's tiles to shared memory. Each lane reads only what it copied itself, so it needs no barrier, only
// cp_async_wait.
template <typename Layout>
struct InSharedMemory {
    using L = Layout;
    using Head = KvHead<typename L::Element>;
    static constexpr int AHEAD = STAGES;
    static constexpr int RESIDENT_BLOCKS = 4;
    static constexpr bool MERGES_SPLITS = true;
    static constexpr int STAGE = 2 * TILE_PIECES * 32;  // pieces of a warp's tile, keys before values: [piece][lane]
    uint4* mine;                                        // this lane's, the next one 32 further

    __device__ __forceinline__ InSharedMemory() {
        __shared__ uint4 copies[WARPS * STAGES * STAGE];
        mine = copies + threadIdx.x / 32 * (STAGES * STAGE) + threadIdx.x % 32;
    }
    __device__ __forceinline__ void start(const L& me, const Head& head, const RowOffsets<L>& offsets, int stage,
                                          bool exists) {
        if (exists) {
            copy_pieces(me, mine + stage * STAGE, head.keys, offsets, head.head_dim);
            copy_pieces(me, mine + stage * STAGE + TILE_PIECES * 32, head.values, offsets, head.head_dim);
        }
        yaie::cp_async_commit();  // also where there is no more: the wait counts groups
    }
    __device__ __forceinline__ void wait() {
        yaie::cp_async_wait<STAGES - 1>();  // this tile is there, the next one may still be in flight
    }
    __device__ __forceinline__ uint4 key_piece(int stage, int i) const {
        return mine[stage * STAGE + i * 32];
    }
    __device__ __forceinline__ uint4 value_piece(int stage, int i) const {
        return mine[stage * STAGE + (TILE_PIECES + i) * 32];
    }
    __device__ __forceinline__ void load_keys(const L&, const Head&, const RowOffsets<L>&) {}
    __device__ __forceinline__ void load_rest(const L& me, const Head& head, const RowOffsets<L>& offsets, int stage,
                                              bool exists) {
        start(me, head, offsets, stage, exists);
    }
};

// The asynchronous kernel where there is one.
template <typename T>
static int launch_async(const Attention<T>& a) {
    if constexpr (sizeof(T) == 2) {
        // Warps with other rows read the same keys: through L1, which cp.async bypasses.
        const bool one_warp_has_all_rows = a.num_heads <= ROWS * a.num_kv_heads;
        if (one_warp_has_all_rows && a.head_dim <= 128) {
            return dispatch_head_dim<64, 128>(a.head_dim, [&](auto size) {
                return launch_kernel<T, InSharedMemory<Layout<T, size()>>>(a, 1);
            });
        }
    }
    return launch_split_kv(a);
}

extern "C" int paged_decode_5_async(const void* query, const void* key_cache, const void* value_cache,
                                    const int* block_tables, const int* context_lens, const int4* tiles, void* out,
                                    float* partial_out, float* partial_lse, int* counters, PagedShape shape,
                                    cudaStream_t stream) {
    const PagedTensors tensors = {query, key_cache, value_cache, block_tables, context_lens, tiles, out};
    return with_splits(tensors, partial_out, partial_lse, counters, shape, stream,
                       [](const auto& a) { return launch_async(a); });
}
