__global__ void tile_product_kernel(const __half* a, const __half* b, float* c, int depth) {
    const uint32_t* pairs_of_a = reinterpret_cast<const uint32_t*>(a);
    const uint32_t* pairs_of_b = reinterpret_cast<const uint32_t*>(b);
    const int row = threadIdx.x / 4, pair = threadIdx.x % 4, stride = depth / 2;
    float sums[4] = {};
    for (int first = pair; first < stride; first += 8) {
        const int at = row * stride + first;
        const int below = at + 8 * stride;
        const uint32_t left[4] = {pairs_of_a[at], pairs_of_a[below], pairs_of_a[at + 4], pairs_of_a[below + 4]};
        const uint32_t right[2] = {pairs_of_b[at], pairs_of_b[at + 4]};
        yaie::mma_m16n8k16_f16(sums, left, right, sums);
    }
    for (int half = 0; half < 2; ++half)
        for (int i = 0; i < 2; ++i) c[(row + 8 * half) * 8 + 2 * pair + i] = sums[2 * half + i];
}
