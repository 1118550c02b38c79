// expect: not by one mma for each 16 columns
__global__ void tile_product_kernel(const __half* a, const __half* b, float* c, int depth) {
    for (int i = threadIdx.x; i < 128; i += 32) {
        float sum = 0.0f;
        for (int k = 0; k < depth; ++k) sum += __half2float(a[i / 8 * depth + k]) * __half2float(b[i % 8 * depth + k]);
        c[i] = sum;
    }
}
