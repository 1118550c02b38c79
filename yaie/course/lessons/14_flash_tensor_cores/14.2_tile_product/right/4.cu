// A lane takes four contiguous columns of each step. Any order of the depth will do, if both matrices have the same.
__global__ void tile_product_kernel(const __half* a, const __half* b, float* c, int depth) {
    const int row = threadIdx.x / 4, column = threadIdx.x % 4 * 2;
    float sums[4] = {};
    for (int k = threadIdx.x % 4 * 4; k < depth; k += 16) {
        const __half *upper = a + row * depth + k, *lower = upper + 8 * depth, *of_b = b + row * depth + k;
        const uint32_t left[4] = {two_at(upper), two_at(lower), two_at(upper + 2), two_at(lower + 2)};
        const uint32_t right[2] = {two_at(of_b), two_at(of_b + 2)};
        yaie::mma_m16n8k16_f16(sums, left, right, sums);
    }
    for (int i = 0; i < 2; ++i) {
        c[row * 8 + column + i] = sums[i];
        c[(row + 8) * 8 + column + i] = sums[2 + i];
    }
}
