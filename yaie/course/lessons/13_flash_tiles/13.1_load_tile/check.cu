// The check calls flash_attention_2_tiles, too.

// load_tile by itself: the tile that it makes, where a -1 is left of what it does not set. `rows` points to the row
// that comes `missing` rows after the head's first one.
__global__ void tile_alone(const float* rows, int stride, int missing, int first, int count, int head_dim, float* out,
                           int tile_stride) {
    extern __shared__ float shared[];
    for (int i = threadIdx.x; i < KEYS * tile_stride; i += blockDim.x) {
        shared[i] = -1.0f;
    }
    __syncthreads();
    load_tile(rows - static_cast<int64_t>(missing) * stride, stride, first, count, head_dim, shared, tile_stride);
    __syncthreads();
    for (int i = threadIdx.x; i < KEYS * tile_stride; i += blockDim.x) {
        out[i] = shared[i];
    }
}

extern "C" int load_tile_alone(const float* rows, int stride, int missing, int first, int count, int head_dim,
                               float* out, int tile_stride, cudaStream_t stream) {
    tile_alone<<<1, WARPS * 32, KEYS * tile_stride * sizeof(float), stream>>>(rows, stride, missing, first, count,
                                                                             head_dim, out, tile_stride);
    return cudaGetLastError();
}
