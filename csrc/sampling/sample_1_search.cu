// Rung 1 of sampling: top-k and top-p by bisection. One thread block for each row.
//
// logits: [num_rows, vocab_size]
// temperature, top_k, top_p, max_distance, uniforms, seeds, steps: [num_rows], see `Parameters`
// tokens: [num_rows], the token drawn; -1 where the row has NaN, +infinity or nothing but -infinity
// limits: [num_rows], the largest order that was kept; may be null
//
// The limit of a row (row.cuh) is found by bisection: the tokens up to the middle are counted, and the search goes on
// in one of the halves. Each step reads the whole row, so a row is read some twenty times for each filter, and about 48
// times where many logits are equal. Nothing is sorted, and nothing is stored but the answer.
//
// Measured on an H100, 128 rows of 131,072 (yaie/bench/results): top-k 50 in 720 us, top-p 0.9 in 860 us, where one
// reading of the logits takes 22 us; torch's full sort takes 2,800 us, and 3,400 us with top-p.
#include "row.cuh"

constexpr int MOST_THREADS = 512;  // each may then have 128 registers

__global__ void __launch_bounds__(MOST_THREADS, 1)
sample_1_kernel(const float* logits, Parameters parameters, int64_t* tokens, int64_t* limits, int vocab_size,
                int id_bits) {
    __shared__ Scratch scratch;
    __shared__ Mass of_warp[MOST_WARPS];
    Row row(logits, vocab_size, id_bits);
    float largest;
    if (!begin_row(row, parameters, largest, tokens, limits, scratch)) {
        return;
    }
    Order limit = limit_by_bisection(row, parameters.top_k[blockIdx.x], parameters.top_p[blockIdx.x], scratch);
    limit = min(limit, limit_of_min_p(row, parameters));
    weigh_spans(row, limit, of_warp);
    draw(row, limit, uniform_of_row(parameters), of_warp, tokens + blockIdx.x, scratch);
    if (threadIdx.x == 0 && limits) limits[blockIdx.x] = static_cast<int64_t>(limit);
}

extern "C" int sample_1_search(const float* logits, const float* temperature, const int* top_k, const double* top_p,
                               const float* max_distance, const double* uniforms, const int64_t* seeds,
                               const int64_t* steps, int64_t* tokens, int64_t* limits, int num_rows, int vocab_size,
                               cudaStream_t stream) {
    const Parameters parameters = {temperature, top_k, top_p, max_distance, uniforms, seeds, steps};
    return with_shape(num_rows, vocab_size, MOST_THREADS, [&](Shape shape) {
        sample_1_kernel<<<num_rows, shape.threads, 0, stream>>>(logits, parameters, tokens, limits, vocab_size,
                                                                shape.id_bits);
        return cudaGetLastError();
    });
}
