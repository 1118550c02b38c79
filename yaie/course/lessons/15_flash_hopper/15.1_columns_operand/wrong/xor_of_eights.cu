// expect: From row 0 to row 8 it moves by 1,040
// An XOR with the number of the pattern: right for rows 0 and 64.
template <int ROWS>
__device__ __forceinline__ uint64_t columns_operand(const char* tile, int first_row, int step) {
    const int chunk = (2 * step ^ first_row / 8) % 8;
    return yaie::wgmma_descriptor(tile + (step / 4 * ROWS + first_row) * PART_BYTES + chunk * 16, 16, PATTERN_BYTES,
                                  yaie::SWIZZLE_128B);
}
