// mask_scores by itself, with two warps: the scores [rows of both warps][keys], as mma leaves them in the lanes, before
// and after. Warp w has the rows from first_row + 16 * BANDS * w on.
template <int BANDS, int BLOCKS>
__global__ void mask_alone(float* scores, int q_len, int kv_len, int causal, int first_row, int first_key) {
    Head<__half> rows = {};
    rows.q_len = q_len;
    rows.kv_len = kv_len;
    rows.first_row_sees = causal ? kv_len - q_len + 1 : kv_len;
    const int lane = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 16 * BANDS;
    float own[BANDS][BLOCKS][4];
    const auto each = [&](auto f) {
        for (int band = 0; band < BANDS; ++band)
            for (int block = 0; block < BLOCKS; ++block)
                for (int i = 0; i < 4; ++i) {
                    const int row = warp_row + 16 * band + lane / 4 + 8 * (i / 2), key = 8 * block + lane % 4 * 2 + i % 2;
                    f(own[band][block][i], scores[row * 8 * BLOCKS + key]);
                }
    };
    each([](float& in_lane, float in_memory) { in_lane = in_memory; });
    mask_scores(own, rows, first_row + warp_row, first_key);
    each([](float in_lane, float& in_memory) { in_memory = in_lane; });
}

extern "C" int mask_scores_alone(float* scores, int bands, int q_len, int kv_len, int causal, int first_row,
                                 int first_key, cudaStream_t stream) {
    if (bands == 2) {
        mask_alone<2, 8><<<1, 64, 0, stream>>>(scores, q_len, kv_len, causal, first_row, first_key);
    } else {
        mask_alone<1, 4><<<1, 64, 0, stream>>>(scores, q_len, kv_len, causal, first_row, first_key);
    }
    return cudaGetLastError();
}
