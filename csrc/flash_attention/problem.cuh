// What all rungs of flash attention get, and how a thread block finds its part of it.
//
// query, out: [total_q, num_heads, head_dim]; key, value: [total_k, num_kv_heads, head_dim], contiguous. The sequences
// of a batch lie one after the other ("packed"), without padding: sequence s has the query rows cu_seqlens_q[s] up to
// cu_seqlens_q[s + 1], and the key rows cu_seqlens_k[s] up to cu_seqlens_k[s + 1].
//
// Every launch has a grid of (parts of the queries, num_heads, num_seqs) thread blocks. max_q_len sets its width;
// blocks beyond the end of a shorter sequence have nothing to do.
#pragma once
#include "../common.cuh"

struct Problem {
    const int* cu_seqlens_q;  // [num_seqs + 1]
    const int* cu_seqlens_k;  // [num_seqs + 1]
    int num_heads, num_kv_heads, head_dim;
    float scale;  // factor of the scores
    bool causal;
};

// One head of one sequence: pointers to its first token, and the way from one token to the next, in elements.
template <typename T>
struct Head {
    const T *query, *key, *value;
    T* out;
    int query_stride, key_stride;
    int q_len, kv_len;
    int first_row_sees;

    // Where a row begins, from a pointer of this head's. 64 bits: a long batch has more than 2^31 elements.
    __device__ int64_t to_query(int row) const { return static_cast<int64_t>(row) * query_stride; }
    __device__ int64_t to_key(int row) const { return static_cast<int64_t>(row) * key_stride; }

    // How many keys query `row` may see; they are the first ones. With a causal mask the queries are the last q_len of
    // kv_len tokens: row 0 sees kv_len - q_len + 1 keys and each row one more than the row before.
    __device__ int visible_keys(int row) const { return max(0, min(first_row_sees + row, kv_len)); }
    __device__ int num_rows() const { return q_len; }
    // Whether `row` and the rows behind it see the first num_keys keys.
    __device__ bool all_rows_see(int num_keys, int row) const { return num_keys <= visible_keys(row); }
};

// The head blockIdx.y of the sequence blockIdx.z. Several query heads share a head of keys and values (GQA).
template <typename T>
__device__ __forceinline__ Head<T> head_of_this_block(const T* query, const T* key, const T* value, T* out,
                                                      const Problem& problem) {
    const int seq = blockIdx.z;
    const int head = blockIdx.y;
    const int kv_head = head / (problem.num_heads / problem.num_kv_heads);
    const int first_q = problem.cu_seqlens_q[seq];
    const int first_k = problem.cu_seqlens_k[seq];
    Head<T> h;
    h.query_stride = problem.num_heads * problem.head_dim;
    h.key_stride = problem.num_kv_heads * problem.head_dim;
    const int64_t to_query = static_cast<int64_t>(first_q) * h.query_stride + head * problem.head_dim;
    const int64_t to_key = static_cast<int64_t>(first_k) * h.key_stride + kv_head * problem.head_dim;
    h.query = query + to_query;
    h.key = key + to_key;
    h.value = value + to_key;
    h.out = out + to_query;
    h.q_len = problem.cu_seqlens_q[seq + 1] - first_q;
    h.kv_len = problem.cu_seqlens_k[seq + 1] - first_k;
    h.first_row_sees = problem.causal ? h.kv_len - h.q_len + 1 : h.kv_len;
    return h;
}
