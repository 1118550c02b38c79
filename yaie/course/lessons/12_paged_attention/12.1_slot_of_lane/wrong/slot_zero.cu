// expect: A lane without a token reads what is not the sequence's.
__device__ __forceinline__ int slot_of_lane(const int* block_table, int first, int end, int block_size) {
    const int position = first + static_cast<int>(threadIdx.x % 32);
    return position < end ? slot_of_token(block_table, position, block_size) : 0;
}
