// A loop instead of the division.
__device__ __forceinline__ int slot_of_token(const int* block_table, int position, int block_size) {
    while (position >= block_size) {
        position -= block_size;
        ++block_table;
    }
    return block_table[0] * block_size + position;
}
