// expect: elements are fetched more than once
__global__ void tile_product_kernel(const __half* a, const __half* b, float* c, int depth) {
    const int row = threadIdx.x / 4, column = threadIdx.x % 4 * 2;
    float sums[4] = {0, 0, 0, 0};
    for (int k = 0; k < depth; k += 16) {
        uint32_t rows[16][8], left[4], right[2];
        for (int r = 0; r < 16; ++r)
            for (int p = 0; p < 8; ++p) rows[r][p] = *reinterpret_cast<const uint32_t*>(&a[r * depth + k + 2 * p]);
        for (int i = 0; i < 4; ++i) left[i] = rows[row + i % 2 * 8][column / 2 + i / 2 * 4];
        for (int i = 0; i < 2; ++i) right[i] = *reinterpret_cast<const uint32_t*>(&b[row * depth + k + column + 8 * i]);
        yaie::mma_m16n8k16_f16(sums, left, right, sums);
    }
    for (int i = 0; i < 4; ++i) c[(row + i / 2 * 8) * 8 + column + i % 2] = sums[i];
}
