// Row first_row has no XOR, for it is a multiple of 8: the address is that of its chunk 2 * step.
template <int ROWS>
__device__ __forceinline__ uint64_t columns_operand(const char* tile, int first_row, int step) {
    return yaie::wgmma_descriptor(tile + place<ROWS>(first_row, 2 * step), 16, 8 * PART_BYTES, yaie::SWIZZLE_128B);
}
