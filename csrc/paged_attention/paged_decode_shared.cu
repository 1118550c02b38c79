// Decodes whose sequences begin with the same pages: these are read once for all of them ("cascade"). Rung 6 reads each
// key once for the heads of a group. Here the rows of an mma are also those of several sequences.
//
// The keys are cut into pieces. A thread block has a piece of shared pages, for as many sequences as fill 16 rows, or a
// split of what a sequence has for itself behind its shared pages. Each leaves, for its rows, its part of the output
// and the logarithm of its weights, and a second kernel merges the parts of a row. Groups may nest: a sequence has
// parts of as many pieces as its group, the group within that, and so on, were cut into.
//
// What it should gain, by bytes: 64 sequences with 8,192 keys in common, 32 heads on 8 of 128, read 34 MB instead of
// 2.1 GB from memory. The same keys go 16 times from the L2 cache to a multiprocessor (4 sequences fill a block).
// Estimated, not measured yet.
//
// Arguments as for rung 6, without tiles and counters, and
// pieces: [num_pieces, 2] of (row of block_tables, first key, key behind the last, slot of its parts) and (first entry
//     of members, number of sequences, 0, 0). The heads of a group of all its sequences are at most 16 rows, or it has
//     one sequence. A piece without sequences has nothing to do.
// members: sequences, those of a piece next to each other
// shared: [num_seqs, 2], of each sequence the keys that are in pieces, its first, and the number n of these pieces,
//     which have the slots num_slots - n, ..., num_slots - 1
// partial_out, partial_lse: [num_seqs, num_heads, num_slots + num_splits] of parts. Splits have the last slots.
#include "splits.cuh"
#include "tensor_tiles.cuh"

struct Pieces {
    const int4* pieces;
    const int *members, *shared;
    int num_pieces, num_slots;
};

// The rows and keys of a thread block, which are those of a piece, or of a split of what a sequence has for itself.
struct PieceShare : Share {
    const int* members;  // null if the block has one sequence, tile.y
    int slot;

    __device__ __forceinline__ int64_t query_row(int row) const {
        const int member = min(token_of(row), tile.z - 1);  // also for a row that does not exist
        const int sequence = members ? members[tile.y + member] : tile.y;
        return static_cast<int64_t>(sequence) * num_heads + kv_head * group + first_row + row - member * group;
    }
};

// Grid: (num_kv_heads * blocks for the rows of a piece, num_pieces + num_seqs * num_splits). Pieces come first: they
// are longer.
template <typename F, typename T>
__device__ __forceinline__ PieceShare piece_of_this_block(const F& me, const Attention<T>& a, const Pieces& p) {
    PieceShare s;
    s.num_heads = a.num_heads;
    s.group = a.num_heads / a.num_kv_heads;
    s.key_warps = WARPS;
    s.warp_row = 0;
    s.kv_head = blockIdx.x % a.num_kv_heads;
    s.first_row = blockIdx.x / a.num_kv_heads * F::WARP_ROWS;
    const int index = blockIdx.y;
    if (index < p.num_pieces) {
        const int4 keys = p.pieces[2 * index], who = p.pieces[2 * index + 1];
        s.tile = make_int4(keys.x, who.x, who.y, 0);
        s.members = p.members;
        s.split_begin = keys.y;
        s.split_end = keys.z;
        s.slot = keys.w;
    } else {
        const int sequence = (index - p.num_pieces) / a.num_splits, split = (index - p.num_pieces) % a.num_splits;
        const int num_shared = p.shared[2 * sequence], context_len = a.context_lens[sequence];
        const int split_len = keys_per_split(a, context_len - num_shared);
        s.tile = make_int4(sequence, sequence, 1, 0);
        s.members = nullptr;
        s.split_begin = num_shared + split * split_len;
        s.split_end = min(s.split_begin + split_len, context_len);
        s.slot = p.num_slots + split;
    }
    s.num_rows = min(s.tile.z * s.group - s.first_row, F::WARP_ROWS);
    return s;
}

template <typename F>
__global__ void __launch_bounds__(THREADS, 3) pieces_kernel(Attention<typename F::Element> a, Pieces p) {
    extern __shared__ __align__(128) uint4 shared[];
    __shared__ float part_lse[F::WARP_ROWS][WARPS];
    const F me;
    PieceShare share = piece_of_this_block(me, a, p);
    // The first split of a sequence leaves a part even if there is no key.
    if (share.num_rows <= 0 || (share.split_begin >= share.split_end && share.slot != p.num_slots)) {
        return;
    }
    attend(me, a, share, shared, part_lse);
    const auto& part_out = parts_of_warps<F>(shared);
    for (int i = threadIdx.x; i < share.num_rows * a.head_dim; i += THREADS) {
        const int row = i / a.head_dim, d = i % a.head_dim;
        const int64_t part = share.query_row(row) * (p.num_slots + a.num_splits) + share.slot;
        float lse;
        a.partial_out[part * a.head_dim + d] =
            merge_parts(part_lse[row], &part_out[0][row][d], WARPS, F::WARP_ROWS * F::PART_STRIDE, lse);
        if (d == 0) {
            a.partial_lse[part] = lse;
        }
    }
}

// Thread block b merges the parts of query head b % num_heads of sequence b / num_heads.
template <typename T>
__global__ void __launch_bounds__(THREADS) merge_pieces_kernel(Attention<T> a, Pieces p) {
    const int sequence = blockIdx.x / a.num_heads;
    const int num_shared = p.shared[2 * sequence], num_pieces = p.shared[2 * sequence + 1];
    const int count = num_pieces + splits_of(a, a.context_lens[sequence] - num_shared);
    const int64_t row = blockIdx.x;
    const int64_t first = row * (p.num_slots + a.num_splits) + p.num_slots - num_pieces;
    for (int d = threadIdx.x; d < a.head_dim; d += THREADS) {
        float lse;
        const float* parts = a.partial_out + first * a.head_dim + d;
        a.out[row * a.head_dim + d] = from_float<T>(merge_parts(a.partial_lse + first, parts, count, a.head_dim, lse));
    }
}

template <typename F>
static int launch_pieces(Attention<typename F::Element> a, const Pieces& p) {
    const int row_blocks = (a.num_heads / a.num_kv_heads + F::WARP_ROWS - 1) / F::WARP_ROWS;
    const int64_t num_blocks = p.num_pieces + static_cast<int64_t>(a.num_tiles) * a.num_splits;
    if (num_blocks > MAX_GRID) {
        return cudaErrorInvalidConfiguration;
    }
    if (const cudaError_t error = allow_shared_memory(pieces_kernel<F>, F::SHARED_BYTES)) {
        return error;
    }
    const dim3 grid(a.num_kv_heads * row_blocks, static_cast<int>(num_blocks));
    pieces_kernel<F><<<grid, THREADS, F::SHARED_BYTES, a.stream>>>(a, p);
    merge_pieces_kernel<<<a.num_tiles * a.num_heads, THREADS, 0, a.stream>>>(a, p);
    return cudaGetLastError();
}

extern "C" int paged_decode_shared(const void* query, const void* key_cache, const void* value_cache,
                                   const int* block_tables, const int* context_lens, const int4* pieces,
                                   const int* members, const int* shared, void* out, float* partial_out,
                                   float* partial_lse, int num_pieces, int num_slots, PagedShape shape,
                                   cudaStream_t stream) {
    const PagedTensors tensors = {query, key_cache, value_cache, block_tables, context_lens, nullptr, out};
    const Pieces given = {pieces, members, shared, num_pieces, num_slots};
    return with_splits(tensors, partial_out, partial_lse, shape, stream, [&](const auto& a) -> int {
        using T = std::remove_const_t<std::remove_pointer_t<decltype(a.query)>>;
        if constexpr (sizeof(T) == 2) {
            return dispatch_head_dim<64, 128>(a.head_dim, [&](auto size) {
                return launch_pieces<Fragments<T, size()>>(a, given);
            });
        } else {
            return cudaErrorInvalidValue;
        }
    });
}
