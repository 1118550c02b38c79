// expect: The row that lane 6 of warp 0 reads is wrong.
__device__ __forceinline__ int slot_of_lane(const int* block_table, int first, int end, int block_size) {
    const int pages = (end + block_size - 1) / block_size;
    return slot_of_token(block_table, min(first + static_cast<int>(threadIdx.x % 32), pages * block_size - 1),
                         block_size);
}
