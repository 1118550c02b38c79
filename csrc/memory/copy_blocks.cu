// Copy whole blocks of the KV cache inside the cache, in place: what a fork needs before it writes (copy on write).
//
// key_cache, value_cache: [num_layers, num_blocks, block_bytes], any dtype
// block_mapping: [num_pairs, 2], (source, target) block ids. No block may be the target of two pairs, or target and
//     source at once: the pairs are copied at the same time.
//
// 1 copy_blocks_1_elements   moves units of 4 bytes: 32 threads of a warp move 128 bytes with one instruction
// 2 copy_blocks_2_vectors    moves units of 16 bytes: four times fewer instructions for the same bytes
//
// Both take all layers, keys and values in one launch: a grid of (num_pairs, num_layers, 2) thread blocks.
#include "../units.cuh"

// Copy block_mapping's pair blockIdx.x in layer blockIdx.y, of keys (blockIdx.z 0) or values (1). A cache has
// units_per_block units of type `Unit` per block and num_blocks blocks per layer. Any number of threads.
template <typename Unit>
__global__ void copy_blocks_kernel(Unit* key_cache, Unit* value_cache, const int64_t* block_mapping,
                                   int64_t num_blocks, int64_t units_per_block) {
    const int64_t source = block_mapping[2 * blockIdx.x];
    const int64_t target = block_mapping[2 * blockIdx.x + 1];
    Unit* cache = blockIdx.z == 0 ? key_cache : value_cache;
    Unit* layer = cache + blockIdx.y * num_blocks * units_per_block;
    for (int64_t i = threadIdx.x; i < units_per_block; i += blockDim.x) {
        layer[target * units_per_block + i] = layer[source * units_per_block + i];
    }
}

template <typename Unit>
static int launch_copy(void* key_cache, void* value_cache, const int64_t* block_mapping, int num_pairs, int num_layers,
                       int64_t num_blocks, int64_t block_bytes, cudaStream_t stream) {
    if (num_pairs == 0) {
        return cudaSuccess;
    }
    const int64_t units = block_bytes / static_cast<int64_t>(sizeof(Unit));
    const dim3 grid(num_pairs, num_layers, 2);
    copy_blocks_kernel<Unit><<<grid, threads_for(units), 0, stream>>>(
        static_cast<Unit*>(key_cache), static_cast<Unit*>(value_cache), block_mapping, num_blocks, units);
    return cudaGetLastError();
}

// block_bytes must be a multiple of 4.
extern "C" int copy_blocks_1_elements(void* key_cache, void* value_cache, const int64_t* block_mapping, int num_pairs,
                                      int num_layers, int64_t num_blocks, int64_t block_bytes, cudaStream_t stream) {
    return launch_copy<uint32_t>(key_cache, value_cache, block_mapping, num_pairs, num_layers, num_blocks, block_bytes,
                                 stream);
}

extern "C" int copy_blocks_2_vectors(void* key_cache, void* value_cache, const int64_t* block_mapping, int num_pairs,
                                     int num_layers, int64_t num_blocks, int64_t block_bytes, cudaStream_t stream) {
    return dispatch_unit(block_bytes, [&](auto* type) -> int {
        using Unit = std::remove_pointer_t<decltype(type)>;
        return launch_copy<Unit>(key_cache, value_cache, block_mapping, num_pairs, num_layers, num_blocks, block_bytes,
                                 stream);
    });
}
