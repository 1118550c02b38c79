// The check calls copy_blocks_1_elements and copy_blocks_2_vectors, too.

// copy_blocks_kernel with 64 threads in a block, for one layer of caches whose first `missing` blocks have no place in
// memory: what lies behind them is out of reach of 32-bit offsets.
extern "C" int copy_far_blocks(unsigned* key_cache, unsigned* value_cache, const int64_t* block_mapping, int num_pairs,
                               int64_t units, int64_t missing, cudaStream_t stream) {
    copy_blocks_kernel<<<dim3(num_pairs, 1, 2), 64, 0, stream>>>(key_cache - missing * units,
                                                                 value_cache - missing * units, block_mapping,
                                                                 missing + 3, units);
    return cudaGetLastError();
}

// A unit that counts how often one is stored, also where a compiler would leave the second time out.
__device__ int units_stored;

struct CountedUnit {
    unsigned number;
    CountedUnit() = default;
    CountedUnit(const CountedUnit&) = default;
    __device__ CountedUnit& operator=(const CountedUnit& other) {
        number = other.number;
        atomicAdd(&units_stored, 1);
        return *this;
    }
};

__global__ void begin_to_count() { units_stored = 0; }
__global__ void tell_count(int* count) { *count = units_stored; }

extern "C" int count_copies(unsigned* key_cache, unsigned* value_cache, const int64_t* block_mapping, int num_blocks,
                            int64_t units, int* count, cudaStream_t stream) {
    begin_to_count<<<1, 1, 0, stream>>>();
    copy_blocks_kernel<<<dim3(1, 1, 2), 256, 0, stream>>>(reinterpret_cast<CountedUnit*>(key_cache),
                                                          reinterpret_cast<CountedUnit*>(value_cache), block_mapping,
                                                          num_blocks, units);
    tell_count<<<1, 1, 0, stream>>>(count);
    return cudaGetLastError();
}
