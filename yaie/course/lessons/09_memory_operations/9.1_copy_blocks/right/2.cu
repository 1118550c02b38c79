template <typename Unit>
__device__ void copy_row(Unit* to, const Unit* from, int64_t n) {
    for (int64_t start = 0; start < n; start += blockDim.x) {
        if (start + threadIdx.x < n) {
            to[start + threadIdx.x] = from[start + threadIdx.x];
        }
    }
}

template <typename Unit>
__global__ void copy_blocks_kernel(Unit* keys, Unit* values, const int64_t* mapping, int64_t num_blocks,
                                   int64_t units) {
    const auto where = [=](int64_t block) { return (int64_t(blockIdx.y) * num_blocks + block) * units; };
    const int64_t source = mapping[2 * blockIdx.x], target = mapping[2 * blockIdx.x + 1];
    if (blockIdx.z == 0) {
        copy_row(keys + where(target), keys + where(source), units);
    } else {
        copy_row(values + where(target), values + where(source), units);
    }
}
