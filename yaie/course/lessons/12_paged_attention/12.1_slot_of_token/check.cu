// slot_of_token by itself, for `count` positions from `first` on. `block_table` begins with the entry of page `page`.
__global__ void slots_alone(const int* block_table, int page, int first, int count, int block_size, int* slots) {
    if (threadIdx.x < count) {
        slots[threadIdx.x] = slot_of_token(block_table - page, first + threadIdx.x, block_size);
    }
}

extern "C" int slots_of_tokens(const int* block_table, int page, int first, int count, int block_size, int* slots,
                               cudaStream_t stream) {
    slots_alone<<<1, 32, 0, stream>>>(block_table, page, first, count, block_size, slots);
    return cudaGetLastError();
}
