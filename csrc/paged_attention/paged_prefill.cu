// Attention of queries of several tokens per sequence over pages: the kernel of rung 3 of paged decode (grouped.cuh),
// whose rows are then (token, head) pairs. For 16-bit types the engine takes tensor cores
// (flash_attention_4_paged in ../flash_attention/flash_attention_4_tensor_cores.cu).
//
// Measured on an H100 (README.md): 4 x 1,024 new tokens of 4,096 in bf16 in 11.4 ms.
//
// Arguments as problem.cuh says, with
// query, out: [num_tokens, num_heads, head_dim], the sequences one after the other
// tiles: [num_tiles] of (row of block_tables, first row of query, number of tokens, keys that the first of them sees)
// tile_tokens: no tile has more tokens
#include "grouped.cuh"

extern "C" int paged_prefill(const void* query, const void* key_cache, const void* value_cache, const int* block_tables,
                             const int4* tiles, void* out, PagedShape shape, cudaStream_t stream) {
    const PagedTensors tensors = {query, key_cache, value_cache, block_tables, nullptr, tiles, out};
    return with_attention(tensors, shape, stream,
                          [&](const auto& a) { return launch_grouped(a, shape.tile_tokens); });
}
