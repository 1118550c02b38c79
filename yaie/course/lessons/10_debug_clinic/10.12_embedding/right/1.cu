template <typename Unit>
__global__ void embedding_kernel(const Unit* table, const int64_t* token_ids, Unit* out, int64_t vocab_size,
                                 int64_t units_per_row) {
    const int64_t token = blockIdx.x;
    const int64_t id = token_ids[token];
    const bool unknown = id < 0 || id >= vocab_size;
    for (int64_t i = threadIdx.x; i < units_per_row; i += blockDim.x) {
        if (unknown) {
            out[token * units_per_row + i] = all_ones<Unit>();
        } else {
            out[token * units_per_row + i] = table[id * units_per_row + i];
        }
    }
}
