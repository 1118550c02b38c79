__device__ __forceinline__ int slot_of_lane(const int* block_table, int first, int end, int block_size) {
    const int lane = threadIdx.x & 31;
    const int position = first + lane < end ? first + lane : first;
    return slot_of_token(block_table, position, block_size);
}
