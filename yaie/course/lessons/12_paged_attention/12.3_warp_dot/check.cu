// warp_dot by itself: each of the four warps has a query and a key of its own, and every lane tells its result.
template <typename T>
__global__ void dots_alone(const float* queries, const T* keys, int head_dim, float* results) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float query[DIMS_PER_LANE] = {};
    for (int i = 0; lane + 32 * i < head_dim; ++i) {
        query[i] = queries[warp * head_dim + lane + 32 * i];
    }
    results[threadIdx.x] = warp_dot(query, keys + warp * head_dim, head_dim);
}

extern "C" int warp_dots(const float* queries, const float* keys, int head_dim, float* results, cudaStream_t stream) {
    dots_alone<<<1, THREADS, 0, stream>>>(queries, keys, head_dim, results);
    return cudaGetLastError();
}
