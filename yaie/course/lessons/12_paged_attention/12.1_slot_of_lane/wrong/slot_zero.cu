// expect: The row that lane 8 of warp 0 reads is wrong.
__device__ __forceinline__ int slot_of_lane(const int* block_table, int first, int end, int block_size) {
    const int position = first + static_cast<int>(threadIdx.x % 32);
    return position < end ? slot_of_token(block_table, position, block_size) : 0;
}
