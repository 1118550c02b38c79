// Rung 1 of flash attention: the three steps of the textbook, with all scores in memory between them.
//
//   scores  = scale * query * key^T     one thread for each score
//   weights = softmax(scores)           one warp for each row, in place
//   out     = weights * value           one thread for each element of the output
//
// What it costs: scores takes 4 * q_len * kv_len bytes for each head, written once, read and written by the softmax,
// and read by every column of the output; and each row reads all of its keys and values from memory by itself. At
// 4096 tokens that is 64 MiB of scores for each head.
//
// Measured on an H100 (README.md): 0.9 TFLOP/s, where the card multiplies matrices at 770.
//
// Arguments as problem.cuh says, and scores: [total_q, num_heads, max_kv_len], memory to work in.
#include "problem.cuh"

constexpr int THREADS = 128;

// The scores of query row blockIdx.x; -inf for keys that it may not see.
template <typename T>
__global__ void scores_kernel(const T* query, const T* key, const T* value, T* out, float* scores, int max_kv_len,
                              Problem problem) {
    const Head<T> head = head_of_this_block(query, key, value, out, problem);
    const int row = blockIdx.x;
    if (row >= head.q_len) {
        return;
    }
    const int64_t line = static_cast<int64_t>(problem.cu_seqlens_q[blockIdx.z] + row) * problem.num_heads + blockIdx.y;
    for (int j = threadIdx.x; j < head.kv_len; j += blockDim.x) {
        float score = -INFINITY;
        if (j < head.visible_keys(row)) {
            score = 0.0f;
            for (int d = 0; d < problem.head_dim; ++d) {
                score += to_float(head.query[head.to_query(row) + d]) * to_float(head.key[head.to_key(j) + d]);
            }
            score *= problem.scale;
        }
        scores[line * max_kv_len + j] = score;
    }
}

// Softmax of a row by one warp. Without the maximum taken off, exp() of a large score would be infinite.
__global__ void softmax_kernel(float* scores, int max_kv_len, Problem problem) {
    const int first_q = problem.cu_seqlens_q[blockIdx.z];
    const int row = blockIdx.x;
    if (row >= problem.cu_seqlens_q[blockIdx.z + 1] - first_q) {
        return;
    }
    const int kv_len = problem.cu_seqlens_k[blockIdx.z + 1] - problem.cu_seqlens_k[blockIdx.z];
    float* line = scores + (static_cast<int64_t>(first_q + row) * problem.num_heads + blockIdx.y) * max_kv_len;
    float most = -INFINITY;
    for (int j = threadIdx.x; j < kv_len; j += 32) {
        most = fmaxf(most, line[j]);
    }
    most = warp_max(most);
    float sum = 0.0f;
    for (int j = threadIdx.x; j < kv_len; j += 32) {
        sum += most == -INFINITY ? 0.0f : expf(line[j] - most);
    }
    sum = warp_sum(sum);
    for (int j = threadIdx.x; j < kv_len; j += 32) {
        line[j] = sum > 0.0f ? expf(line[j] - most) / sum : 0.0f;  // a row that sees no key weighs nothing
    }
}

// One row of the output: each thread adds up its columns.
template <typename T>
__global__ void weighted_sum_kernel(const T* query, const T* key, const T* value, T* out, const float* scores,
                                    int max_kv_len, Problem problem) {
    const Head<T> head = head_of_this_block(query, key, value, out, problem);
    const int row = blockIdx.x;
    if (row >= head.q_len) {
        return;
    }
    const int64_t line = static_cast<int64_t>(problem.cu_seqlens_q[blockIdx.z] + row) * problem.num_heads + blockIdx.y;
    for (int d = threadIdx.x; d < problem.head_dim; d += blockDim.x) {
        float sum = 0.0f;
        for (int j = 0; j < head.kv_len; ++j) {
            sum += scores[line * max_kv_len + j] * to_float(head.value[head.to_key(j) + d]);
        }
        head.out[head.to_query(row) + d] = from_float<T>(sum);
    }
}

extern "C" int flash_attention_1_naive(const void* query, const void* key, const void* value, void* out, float* scores,
                                       const int* cu_seqlens_q, const int* cu_seqlens_k, int num_seqs, int max_q_len,
                                       int max_kv_len, int num_heads, int num_kv_heads, int head_dim, float scale,
                                       int causal, int dtype, cudaStream_t stream) {
    if (num_seqs == 0 || max_q_len == 0) {
        return cudaSuccess;
    }
    const Problem problem = {cu_seqlens_q, cu_seqlens_k, num_heads, num_kv_heads, head_dim, scale, causal != 0};
    const dim3 grid(max_q_len, num_heads, num_seqs);
    return dispatch_dtype(dtype, [&](auto* type) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        const T *q = static_cast<const T*>(query), *k = static_cast<const T*>(key), *v = static_cast<const T*>(value);
        T* o = static_cast<T*>(out);
        scores_kernel<T><<<grid, THREADS, 0, stream>>>(q, k, v, o, scores, max_kv_len, problem);
        softmax_kernel<<<grid, 32, 0, stream>>>(scores, max_kv_len, problem);
        weighted_sum_kernel<T><<<grid, THREADS, 0, stream>>>(q, k, v, o, scores, max_kv_len, problem);
        return cudaGetLastError();
    });
}
