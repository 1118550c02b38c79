// Decodes whose sequences begin with the same pages: these are read once for all of them ("cascade"). Rung 6 reads each
// key once for the heads of a group. Here the rows of a thread block are also those of several sequences.
//
// The keys are cut into pieces. A thread block has a piece of shared pages, for as many sequences as fill 64 rows, or a
// split of what a sequence has for itself behind its shared pages. Each leaves, for its rows, its part of the output
// and the logarithm of its weights, and a second kernel merges the parts of a row. (The last thread block to end could
// do that, as in rung 6. But it would have 64 rows to merge, and others would look on: on an H100 that took longer than
// all the rest.) Groups may nest: a sequence has parts of as many pieces as its group, the group within that, and so on,
// were cut into.
//
// What it should gain, by bytes: 64 sequences with 8,192 keys in common, 32 heads on 8 of 128, read 34 MB instead of
// 2.1 GB from memory. The same keys go 4 times from the L2 cache to a multiprocessor (16 sequences fill a block).
//
// What it did gain on an H100 with 16 rows in a block, and a second kernel that merged: 3.6 times the speed of rung 5.
//
// Arguments as for rung 6, without tiles and counters, and
// pieces: [num_pieces, 2] of (row of block_tables, first key, key behind the last, slot of its parts) and (first entry
//     of members, number of sequences, 0, 0). The heads of a group of all its sequences are at most 64 rows, or it has
//     one sequence. A piece without sequences has nothing to do.
// members: sequences, those of a piece next to each other
// shared: [num_seqs, 2], of each sequence the keys that are in pieces, its first, and the number n of these pieces,
//     which have the slots num_slots - n, ..., num_slots - 1
// partial_out, partial_lse: [num_seqs, num_heads, num_slots + num_splits] of parts. Splits have the last slots.
#include "tensor_tiles.cuh"

struct Pieces {
    const int4* pieces;
    const int *members, *shared;
    int num_pieces, num_slots;
};

// The rows and keys of a thread block, which are those of a piece, or of a split of what a sequence has for itself.
struct PieceShare : Share {
    const int* members;
    bool shared;  // else the block has one sequence, tile.y
    int slot;

    __device__ __forceinline__ int sequence(int member) const { return shared ? members[tile.y + member] : tile.y; }
    __device__ __forceinline__ int64_t query_row(int row) const {
        const int member = min(token_of(row), tile.z - 1);  // also for a row that does not exist
        return static_cast<int64_t>(sequence(member)) * num_heads + kv_head * group + first_row + row - member * group;
    }
};

// What a sequence has for itself, behind the keys that are in pieces.
template <typename T>
__device__ __forceinline__ int own_keys(const Attention<T>& a, const Pieces& p, int sequence) {
    return a.context_lens[sequence] - p.shared[2 * sequence];
}

// Grid: (num_kv_heads * blocks for the rows of a piece, num_pieces + num_splits * num_seqs). Pieces come first: they
// take longer.
template <typename F, typename T>
__device__ __forceinline__ PieceShare piece_of_this_block(const Attention<T>& a, const Pieces& p) {
    PieceShare s;
    s.num_heads = a.num_heads;
    s.group = a.num_heads / a.num_kv_heads;
    s.key_warps = WARPS;
    s.warp_row = 0;
    s.kv_head = blockIdx.x % a.num_kv_heads;
    s.first_row = blockIdx.x / a.num_kv_heads * F::MOST_ROWS;
    s.members = p.members;
    const int index = blockIdx.y;
    s.shared = index < p.num_pieces;
    if (s.shared) {
        const int4 keys = p.pieces[2 * index], who = p.pieces[2 * index + 1];
        s.tile = make_int4(keys.x, who.x, who.y, 0);
        s.split_begin = keys.y;
        s.split_end = keys.z;
        s.slot = keys.w;
    } else {
        const int sequence = (index - p.num_pieces) % a.num_tiles, split = (index - p.num_pieces) / a.num_tiles;
        const int num_shared = p.shared[2 * sequence], own = own_keys(a, p, sequence);
        const int split_len = keys_per_split(a, own);
        s.tile = make_int4(sequence, sequence, split < splits_of(a, own), 0);
        s.split_begin = num_shared + split * split_len;
        s.split_end = num_shared + min((split + 1) * split_len, own);
        s.slot = p.num_slots + split;
    }
    s.num_rows = min(s.tile.z * s.group - s.first_row, F::MOST_ROWS);
    s.begin = s.split_begin;
    s.end = s.split_end;
    return s;
}

// Parts of a sequence that are left in memory.
template <typename T>
__device__ __forceinline__ int parts_of(const Attention<T>& a, const Pieces& p, int sequence) {
    return p.shared[2 * sequence + 1] + splits_of(a, own_keys(a, p, sequence));
}

template <typename F>
__global__ void __launch_bounds__(THREADS, 3) pieces_kernel(Attention<typename F::Element> a, Pieces p) {
    extern __shared__ __align__(128) uint4 shared[];
    const F me;
    PieceShare share = piece_of_this_block<F>(a, p);
    if (share.num_rows <= 0) {
        return;
    }
    RunningRows running;
    float sums[F::CHUNKS][4] = {};
    const bool together = share.num_rows > F::WARP_ROWS;
    if (together) {
        attend<true>(me, a, share, shared, running, sums);
    } else {
        attend<false>(me, a, share, shared, running, sums);
    }
    share = piece_of_this_block<F>(a, p);  // anew: while keys are read, there is no register for it
    const bool alone = share.tile.z == 1 && parts_of(a, p, share.sequence(0)) == 1;
    auto part_of = [&](int row) { return share.query_row(row) * (p.num_slots + a.num_splits) + share.slot; };
    if (together) {
        write_rows(me, a, share, running, sums, alone, part_of);
    } else {
        merge_warps_of_tile(me, a, share, running, sums, shared, alone, part_of);
    }
}

// A warp for each query head of each sequence merges its parts. One part was written at once.
template <typename T>
__global__ void __launch_bounds__(THREADS) merge_pieces_kernel(Attention<T> a, Pieces p) {
    const int64_t row = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / 32;
    const int sequence = static_cast<int>(row / a.num_heads);
    if (sequence >= a.num_tiles) {
        return;
    }
    const int count = parts_of(a, p, sequence);
    if (count > 1) {
        const int64_t first = row * (p.num_slots + a.num_splits) + p.num_slots - p.shared[2 * sequence + 1];
        merge_head(a, first, count, row);
    }
}

template <typename F>
static int launch_pieces(Attention<typename F::Element> a, const Pieces& p) {
    const int row_blocks = (a.num_heads / a.num_kv_heads + F::MOST_ROWS - 1) / F::MOST_ROWS;
    const int64_t num_blocks = p.num_pieces + static_cast<int64_t>(a.num_tiles) * a.num_splits;
    if (num_blocks > MAX_GRID) {
        return cudaErrorInvalidConfiguration;
    }
    if (const cudaError_t error = allow_shared_memory(pieces_kernel<F>, F::SHARED_BYTES)) {
        return error;
    }
    const dim3 grid(a.num_kv_heads * row_blocks, static_cast<int>(num_blocks));
    pieces_kernel<F><<<grid, THREADS, F::SHARED_BYTES, a.stream>>>(a, p);
    merge_pieces_kernel<<<(a.num_tiles * a.num_heads + WARPS - 1) / WARPS, THREADS, 0, a.stream>>>(a, p);
    return cudaGetLastError();
}

extern "C" int paged_decode_shared(const void* query, const void* key_cache, const void* value_cache,
                                   const int* block_tables, const int* context_lens, const int4* pieces,
                                   const int* members, const int* shared, void* out, float* partial_out,
                                   float* partial_lse, int num_pieces, int num_slots, PagedShape shape,
                                   cudaStream_t stream) {
    const PagedTensors tensors = {query, key_cache, value_cache, block_tables, context_lens, nullptr, out};
    const Pieces given = {pieces, members, shared, num_pieces, num_slots};
    return with_splits(tensors, partial_out, partial_lse, nullptr, shape, stream, [&](const auto& a) -> int {
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
