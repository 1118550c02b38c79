template <typename T>
__device__ void load_tile(const T* rows, int stride, int first, int count, int head_dim, float* tile,
                          int tile_stride) {
    const int full = min(KEYS, count - first);
    for (int i = threadIdx.x; i < KEYS * head_dim; i += blockDim.x) {
        tile[i / head_dim * tile_stride + i % head_dim] = 0.0f;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < full * head_dim; i += blockDim.x) {
        const T* row = rows + static_cast<int64_t>(first + i / head_dim) * stride;
        tile[i / head_dim * tile_stride + i % head_dim] = to_float(row[i % head_dim]);
    }
}
