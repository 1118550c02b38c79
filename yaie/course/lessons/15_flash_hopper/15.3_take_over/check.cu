// take_over by itself, while sums [64][64] += old weights [64][128] x values [128][64] is in flight; then the sums and
// the operand `weights` as a matrix. scores: the new weights, of which the kernel takes the logarithms.
__global__ void take_over_kernel(const float* old, const uint4* values, const float* scores, const float* factors,
                                 float* sums, float* weights) {
    constexpr int KEYS = 128, HEAD_DIM = 64;
    __shared__ __align__(1024) char tile[TILE_BYTES<KEYS, HEAD_DIM>];
    for (int i = threadIdx.x; i < KEYS * 8; i += WARPGROUP) {
        *reinterpret_cast<uint4*>(tile + place<KEYS>(i / 8, i % 8)) = values[i];
    }
    yaie::fence_proxy_async();
    __syncthreads();
    float own[HEAD_DIM / 2], of_scores[KEYS / 2], of_old[KEYS / 2];
    Softmax softmax = {1.0f, {0.0f, 0.0f}, {factors[own_row(0)], factors[own_row(1)]}, {}};
    uint32_t operand[KEYS / 16][4];
    auto column = [](int i) { return 8 * (i / 4) + threadIdx.x % 4 * 2 + i % 2; };
    for (int i = 0; i < HEAD_DIM / 2; ++i) own[i] = sums[own_row(i / 2 % 2) * HEAD_DIM + column(i)];
    for (int i = 0; i < KEYS / 2; ++i) of_old[i] = old[own_row(i / 2 % 2) * KEYS + column(i)];
    for (int i = 0; i < KEYS / 2; ++i) {
        of_scores[i] = log2f(scores[own_row(i / 2 % 2) * KEYS + column(i)]);
    }
    pack_weights<__half>(of_old, operand);
    start_sums<__half, HEAD_DIM, KEYS>(own, operand, tile);
    take_over<__half>(own, operand, of_scores, softmax);
    for (int i = 0; i < HEAD_DIM / 2; ++i) sums[own_row(i / 2 % 2) * HEAD_DIM + column(i)] = own[i];
    for (int i = 0; i < KEYS / 2; ++i) {
        const __half* pair = reinterpret_cast<const __half*>(&operand[i / 8][i / 2 % 4]);
        weights[own_row(i / 2 % 2) * KEYS + column(i)] = __half2float(pair[i % 2]);
    }
    yaie::wgmma_wait<0>();
}

extern "C" int take_over_alone(const float* old, const __half* values, const float* scores, const float* factors,
                               float* sums, float* weights, cudaStream_t stream) {
    take_over_kernel<<<1, WARPGROUP, 0, stream>>>(old, reinterpret_cast<const uint4*>(values), scores, factors, sums,
                                                  weights);
    return cudaGetLastError();
}
