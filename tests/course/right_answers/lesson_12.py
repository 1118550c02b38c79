"""Three other right answers for each exercise of lesson 12."""

ANSWERS = {
    "12.1": [
        """
__device__ __forceinline__ int slot_of_token(const int* block_table, int position, int block_size) {
    int page = position / block_size;
    int row = position - page * block_size;
    return block_table[page] * block_size + row;
}
""",
        """
__device__ __forceinline__ int slot_of_token(const int* table, int token, int size) {
    const int* entry = table + token / size;
    return *entry * size + token % size;
}
""",
        """
// A loop in the place of the division.
__device__ __forceinline__ int slot_of_token(const int* block_table, int position, int block_size) {
    while (position >= block_size) {
        position -= block_size;
        ++block_table;
    }
    return block_table[0] * block_size + position;
}
""",
    ],
    "12.2": [
        """
__device__ __forceinline__ float grow_maximum(float score, float& largest, float& total) {
    if (score <= largest) {
        return 1.0f;
    }
    float correction = exp2f(largest - score);
    largest = score;
    total = total * correction;
    return correction;
}
""",
        """
__device__ __forceinline__ float grow_maximum(float score, float& largest, float& total) {
    const float old = largest;
    largest = max(old, score);
    const float factor = powf(2.0f, old - largest);
    total *= factor;
    return factor;
}
""",
        """
__device__ float power_of_2(float x) { return x == 0.0f ? 1.0f : expf(x * 0.6931471805599453f); }

__device__ __forceinline__ float grow_maximum(float score, float& m, float& l) {
    float grown = score > m ? score : m, c = power_of_2(m - grown);
    m = grown;
    return l *= c, c;
}
""",
    ],
    "12.3": [
        """
template <typename T>
__device__ __forceinline__ float warp_dot(const float* query, const T* key, int head_dim) {
    const int lane = threadIdx.x & 31;
    float mine = 0.0f;
    for (int i = 0; lane + 32 * i < head_dim; ++i) {
        mine += query[i] * to_float(key[lane + 32 * i]);
    }
    return warp_sum(mine);
}
""",
        """
template <typename T>
__device__ __forceinline__ float warp_dot(const float* q, const T* k, int dim) {
    float sum = 0.0f;
    int i = 0;
    for (int d = threadIdx.x % warpSize; d < dim; d += warpSize) {
        sum = fmaf(q[i++], to_float(k[d]), sum);
    }
    for (int distance = 1; distance < 32; distance *= 2) {
        sum += __shfl_xor_sync(0xffffffff, sum, distance);
    }
    return sum;
}
""",
        """
template <typename T>
__device__ __forceinline__ float warp_dot(const float* query, const T* key, int head_dim) {
    float sum = 0.0f;
    const T* end = key + head_dim;
    const T* own = key + threadIdx.x % 32;
    for (; own < end; own += 32) {
        sum += *query++ * to_float(*own);
    }
    for (int distance = 16; distance > 0; distance /= 2) {
        sum += __shfl_down_sync(FULL_WARP, sum, distance);
    }
    return __shfl_sync(FULL_WARP, sum, 0);
}
""",
    ],
    "12.4": [
        """
__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    float largest = -INFINITY;
    for (int i = 0; i < count; i++) largest = lses[i] > largest ? lses[i] : largest;
    float total = 0, sum = 0;
    for (int i = 0; i < count; i++, parts += stride) {
        total += exp2f(lses[i] - largest);
        sum += exp2f(lses[i] - largest) * *parts;
    }
    lse = log2f(total) + largest;
    return sum / total;
}
""",
        """
// One pass, with a maximum that grows.
__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    float largest = lses[0], total = 1.0f, sum = parts[0];
    for (int i = 1; i < count; ++i) {
        const float larger = fmaxf(largest, lses[i]);
        const float old = exp2f(largest - larger), weight = exp2f(lses[i] - larger);
        total = total * old + weight;
        sum = sum * old + weight * parts[(long long)i * stride];
        largest = larger;
    }
    lse = largest + log2f(total);
    return sum / total;
}
""",
        """
// Two parts at a time: the mean so far, and the next.
__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    float mean = parts[0];
    lse = lses[0];
    for (int i = 1; i < count; ++i) {
        float high = fmaxf(lse, lses[i]);
        float a = exp2f(lse - high), b = exp2f(lses[i] - high);
        mean = (a * mean + b * parts[i * stride]) / (a + b);
        lse = high + log2f(a + b);
    }
    return mean;
}
""",
    ],
}
