// tiles_that_matter by itself: {seen_by_all, to_visit} for the `tile` rows from first_row on.
__global__ void tiles_alone(int q_len, int kv_len, int causal, int first_row, int tile, int* out) {
    Head<float> head = {};
    head.q_len = q_len;
    head.kv_len = kv_len;
    head.first_row_sees = causal ? kv_len - q_len + 1 : kv_len;
    const Tiles tiles = tile == 64 ? tiles_that_matter<64>(head, first_row) : tiles_that_matter<32>(head, first_row);
    out[0] = tiles.seen_by_all;
    out[1] = tiles.to_visit;
}

extern "C" int tiles_that_matter_alone(int q_len, int kv_len, int causal, int first_row, int tile, int* out,
                                       cudaStream_t stream) {
    tiles_alone<<<1, 1, 0, stream>>>(q_len, kv_len, causal, first_row, tile, out);
    return cudaGetLastError();
}
