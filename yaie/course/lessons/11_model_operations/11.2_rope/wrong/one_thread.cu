// expect: most threads of a warp have nothing to do
template <typename T, int N>
__global__ void rope_kernel(T* x, const float* cos, const float* sin, int num_heads, int packs, int64_t token_stride) {
    const int64_t token = blockIdx.x;
    const int half = packs * N;
    for (int i = 0; threadIdx.x == 0 && i < num_heads * half; ++i) {
        T* at = x + token * token_stride + i / half * 2 * half + i % half;
        const float a = to_float(at[0]), b = to_float(at[half]);
        const float c = cos[token * half + i % half], s = sin[token * half + i % half];
        at[0] = from_float<T>(a * c - b * s);
        at[half] = from_float<T>(b * c + a * s);
    }
}
