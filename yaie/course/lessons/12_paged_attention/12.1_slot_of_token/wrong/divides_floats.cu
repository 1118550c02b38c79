// expect: A float holds whole numbers up to 2^24 only
__device__ __forceinline__ int slot_of_token(const int* block_table, int position, int block_size) {
    const int page = static_cast<float>(position) / block_size;
    return block_table[page] * block_size + position % block_size;
}
