template <typename Unit>
__global__ void embedding_kernel(const Unit* table, const int64_t* token_ids, Unit* out, int64_t vocab_size,
                                 int64_t units_per_row) {
    Unit* row = out + blockIdx.x * units_per_row;
    const int64_t id = token_ids[blockIdx.x];
    const Unit* from = id >= 0 && id < vocab_size ? table + id * units_per_row : nullptr;
    int64_t i = threadIdx.x;
    while (i < units_per_row) {
        row[i] = from == nullptr ? all_ones<Unit>() : from[i];
        i += blockDim.x;
    }
}
