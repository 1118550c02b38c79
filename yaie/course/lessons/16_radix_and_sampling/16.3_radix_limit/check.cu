// radix_limit by itself, for a row of logits at temperature 1: what each thread returns. top_k tokens, or, if top_p is
// below 1, that share of the row's mass.
__global__ void limits_of_threads(const float* logits, int vocab_size, int id_bits, int top_k, double top_p,
                                  int64_t* limits) {
    __shared__ Scratch scratch;
    __shared__ Histogram histogram;
    Row row(logits, vocab_size, id_bits);
    row.set_temperature(1.0f);
    float largest;
    find_largest(row, largest, scratch);
    if (threadIdx.x == 0) {  // where no digit is found, these stay
        histogram.digit = 0;
        histogram.before = 0;
    }
    const Order all = row.order(INFINITY, vocab_size - 1);
    const bool by_mass = top_p < 1.0;
    const unsigned long long target = by_mass ? share_of(totals_up_to(row, all, scratch).mass, top_p) : top_k;
    limits[threadIdx.x] = static_cast<int64_t>(radix_limit(row, by_mass, target, histogram, scratch));
}

extern "C" int radix_limit_alone(const float* logits, int vocab_size, int id_bits, int top_k, double top_p,
                                 int64_t* limits, cudaStream_t stream) {
    limits_of_threads<<<1, 128, 0, stream>>>(logits, vocab_size, id_bits, top_k, top_p, limits);
    return cudaGetLastError();
}
