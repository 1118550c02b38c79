// merge_parts by itself: `merged` gets what is returned, then `lse`.
__global__ void merge_alone(const float* lses, const float* parts, int count, int stride, float* merged) {
    float lse = -1.0f;
    merged[0] = merge_parts(lses, parts, count, stride, lse);
    merged[1] = lse;
}

extern "C" int merge(const float* lses, const float* parts, int count, int stride, float* merged, cudaStream_t stream) {
    merge_alone<<<1, 1, 0, stream>>>(lses, parts, count, stride, merged);
    return cudaGetLastError();
}
