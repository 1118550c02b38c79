// Rung 4 of paged decode: rung 3 with several thread blocks per context, whose partial results a second kernel merges
// (splits.cuh). It fills the card when sequences are few and long.
//
// What it did gain on an H100 (README.md): 16 times the speed of rung 3 for one request of 32,768 tokens.
//
// Arguments as problem.cuh says, and
// partial_out: [num_seqs, num_heads, num_splits, head_dim]; partial_lse: [num_seqs, num_heads, num_splits]; null for 1
// tiles: null, or [num_seqs] of (row of block_tables, row of query and out, 1, keys to see) instead of context_lens
#include "grouped.cuh"

extern "C" int paged_decode_4_split_kv(const void* query, const void* key_cache, const void* value_cache,
                                       const int* block_tables, const int* context_lens, const int4* tiles, void* out,
                                       float* partial_out, float* partial_lse, PagedShape shape, cudaStream_t stream) {
    const PagedTensors tensors = {query, key_cache, value_cache, block_tables, context_lens, tiles, out};
    return with_splits(tensors, partial_out, partial_lse, nullptr, shape, stream,
                       [](const auto& a) { return launch_split_kv(a); });
}
