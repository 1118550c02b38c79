template <typename Unit>
__global__ void embedding_kernel(const Unit* table, const int64_t* token_ids, Unit* out, int64_t vocab_size,
                                 int64_t units_per_row) {
    const int64_t token = blockIdx.x;
    const uint64_t id = static_cast<uint64_t>(token_ids[token]);  // a negative id becomes a huge one
    const bool known = id < static_cast<uint64_t>(vocab_size);
    for (int64_t i = threadIdx.x; i < units_per_row; i += blockDim.x) {
        out[token * units_per_row + i] = known ? table[id * units_per_row + i] : all_ones<Unit>();
    }
}
