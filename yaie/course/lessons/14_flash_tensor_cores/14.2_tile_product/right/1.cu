__device__ void fetch_pair(uint32_t& pair, const __half* matrix, int row, int column, int depth) {
    memcpy(&pair, &matrix[row * depth + column], sizeof(pair));
}

__global__ void tile_product_kernel(const __half* a, const __half* b, float* c, int depth) {
    const int quad = threadIdx.x >> 2, pair = (threadIdx.x & 3) << 1;
    float d[4] = {};
    for (int step = 0; step < depth / 16; ++step) {
        uint32_t left[4], right[2];
        for (int i = 0; i < 4; ++i) fetch_pair(left[i], a, quad + (i & 1) * 8, 16 * step + pair + (i >> 1) * 8, depth);
        for (int i = 0; i < 2; ++i) fetch_pair(right[i], b, quad, 16 * step + pair + i * 8, depth);
        yaie::mma_m16n8k16_f16(d, left, right, d);
    }
    float2* rows = reinterpret_cast<float2*>(c);
    rows[quad * 4 + threadIdx.x % 4] = make_float2(d[0], d[1]);
    rows[(quad + 8) * 4 + threadIdx.x % 4] = make_float2(d[2], d[3]);
}
