// Built by hand: address, leading offset and stride in units of 16 bytes.
template <int ROWS>
__device__ __forceinline__ uint64_t columns_operand(const char* tile, int first_row, int step) {
    const uint64_t start = yaie::wgmma_descriptor(tile, 16, PATTERN_BYTES, yaie::SWIZZLE_128B);
    return start + (step / 4 * ROWS + first_row) * (PART_BYTES / 16) + step % 4 * 2;
}
