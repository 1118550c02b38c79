__device__ float power_of_2(float x) { return x == 0.0f ? 1.0f : expf(x * 0.6931471805599453f); }

__device__ __forceinline__ float grow_maximum(float score, float& m, float& l) {
    float grown = score > m ? score : m, c = power_of_2(m - grown);
    m = grown;
    return l *= c, c;
}
