// expect: Compute in float
template <typename T, int N>
__global__ void rope_kernel(T* x, const float* cos, const float* sin, int num_heads, int packs, int64_t token_stride) {
    const int64_t token = blockIdx.x;
    const int half = packs * N;
    for (int i = threadIdx.x; i < num_heads * half; i += blockDim.x) {
        T* at = x + token * token_stride + i / half * 2 * half + i % half;
        const float a = to_float(at[0]), b = to_float(at[half]);
        const float c = to_float(from_float<T>(cos[token * half + i % half]));
        const float s = to_float(from_float<T>(sin[token * half + i % half]));
        at[0] = from_float<T>(a * c - b * s);
        at[half] = from_float<T>(b * c + a * s);
    }
}
