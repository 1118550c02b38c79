// exchange by itself, so many times in a row: found [threads][4] of words [threads][4].
__global__ void exchange_alone_kernel(const int4* words, int4* found, int times) {
    const int4 given = words[threadIdx.x];
    uint32_t own[4] = {static_cast<uint32_t>(given.x), static_cast<uint32_t>(given.y), static_cast<uint32_t>(given.z),
                       static_cast<uint32_t>(given.w)};
    for (int i = 0; i < times; ++i) {
        exchange(own);
    }
    found[threadIdx.x] =
        make_int4(static_cast<int>(own[0]), static_cast<int>(own[1]), static_cast<int>(own[2]), static_cast<int>(own[3]));
}

extern "C" int exchange_alone(const int* words, int* found, int threads, int times, cudaStream_t stream) {
    exchange_alone_kernel<<<1, threads, 0, stream>>>(reinterpret_cast<const int4*>(words),
                                                     reinterpret_cast<int4*>(found), times);
    return cudaGetLastError();
}
