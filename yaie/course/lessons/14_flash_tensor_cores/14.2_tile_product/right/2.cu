__device__ uint32_t packed(__half low, __half high) {
    const __half2 pair = __halves2half2(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}

__global__ void tile_product_kernel(const __half* a, const __half* b, float* c, int depth) {
    const int lane = threadIdx.x % 32;
    const __half* row_of_a = a + lane / 4 * depth;
    const __half* row_of_b = b + lane / 4 * depth;
    float before[4] = {0, 0, 0, 0}, after[4] = {0, 0, 0, 0};
    for (int k = lane % 4 * 2; k < depth; k += 16) {
        const __half* below = row_of_a + 8 * depth;
        uint32_t left[4] = {packed(row_of_a[k], row_of_a[k + 1]), packed(below[k], below[k + 1]),
                            packed(row_of_a[k + 8], row_of_a[k + 9]), packed(below[k + 8], below[k + 9])};
        uint32_t right[2] = {packed(row_of_b[k], row_of_b[k + 1]), packed(row_of_b[k + 8], row_of_b[k + 9])};
        yaie::mma_m16n8k16_f16(after, left, right, before);
        for (int i = 0; i < 4; ++i) before[i] = after[i];
    }
    c[lane * 2] = before[0];
    c[lane * 2 + 1] = before[1];
    c[lane * 2 + 64] = before[2];
    c[lane * 2 + 65] = before[3];
}
