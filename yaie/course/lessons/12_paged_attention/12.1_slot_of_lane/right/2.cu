// Who has no token starts again with the first ones of the warp.
__device__ __forceinline__ int slot_of_lane(const int* block_table, int first, int end, int block_size) {
    int position = first + threadIdx.x % 32 % (end - first);
    int page = position / block_size;
    return block_table[page] * block_size + position - page * block_size;
}
