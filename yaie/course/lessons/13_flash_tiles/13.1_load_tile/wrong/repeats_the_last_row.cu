// expect: The last row is 2. Row 3 of the tile would be row 3: zeros.
template <typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile,
                          int tile_stride) {
    for (int i = threadIdx.x; i < KEYS * head_dim; i += blockDim.x) {
        const int64_t row = min(first + i / head_dim, count - 1);
        tile[i / head_dim * tile_stride + i % head_dim] = to_float(rows[row * stride + i % head_dim]);
    }
}
