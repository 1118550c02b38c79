template <int ROWS>
__device__ __forceinline__ uint64_t columns_operand(const char* tile, int first_row, int step) {
    const bool second = step >= 4;
    const int from = (second ? ROWS : 0) + first_row, byte = (second ? step - 4 : step) * 32;
    return yaie::wgmma_descriptor(&tile[from * 128 + byte], 0, 1024, yaie::SWIZZLE_128B);
}
