// expect: rows
template <typename Unit>
__global__ void embedding_kernel(const Unit* table, const int64_t* token_ids, Unit* out, int64_t vocab_size,
                                 int64_t units_per_row) {
    const int64_t token = blockIdx.x;
    const int64_t id = token_ids[token];
    const bool known = 0 <= id && id < vocab_size - 1;
    for (int64_t i = threadIdx.x; i < units_per_row; i += blockDim.x) {
        out[token * units_per_row + i] = known ? table[id * units_per_row + i] : all_ones<Unit>();
    }
}
