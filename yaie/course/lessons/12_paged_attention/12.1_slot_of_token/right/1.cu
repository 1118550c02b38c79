__device__ __forceinline__ int slot_of_token(const int* block_table, int position, int block_size) {
    int page = position / block_size;
    int row = position - page * block_size;
    return block_table[page] * block_size + row;
}
