// next_tile by itself: a pipeline over num_tiles tiles of one chunk for each thread. In each turn a thread reads the
// chunk of the thread that is so many threads apart. After turn `at` it reads its own chunk of tile at + 1, which is in
// flight.
__global__ void pipeline_alone(const float4* rows, float4* out, int num_tiles, int threads_apart, int at) {
    __shared__ float4 stages[2][THREADS];
    auto start_tile = [&](int tile) {
        yaie::cp_async_16(&stages[tile % 2][threadIdx.x], &rows[tile * THREADS + threadIdx.x], 16);
    };
    start_tile(0);
    yaie::cp_async_commit();
    for (int tile = 0; tile < num_tiles; ++tile) {
        next_tile(tile, num_tiles, start_tile);
        out[tile * THREADS + threadIdx.x] = stages[tile % 2][(threadIdx.x + threads_apart) % THREADS];
        if (tile == at) {
            out[threadIdx.x] = stages[(tile + 1) % 2][threadIdx.x];
        }
    }
}

extern "C" int next_tile_alone(const float4* rows, float4* out, int num_tiles, int threads_apart, int at,
                               cudaStream_t stream) {
    pipeline_alone<<<1, THREADS, 0, stream>>>(rows, out, num_tiles, threads_apart, at);
    return cudaGetLastError();
}
