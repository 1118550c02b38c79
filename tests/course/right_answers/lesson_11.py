"""Three other right answers for each exercise of lesson 11."""

ANSWERS = {
    "11.1": [
        """
template <typename T, int N>
__global__ void __launch_bounds__(MOST_THREADS)
rms_norm_2_kernel(const Pack<T, N>* x, Pack<T, N>* residual, const Pack<T, N>* weight, Pack<T, N>* out, int packs,
                  float eps) {
    x += static_cast<int64_t>(blockIdx.x) * packs;
    out += static_cast<int64_t>(blockIdx.x) * packs;
    Pack<T, N> mine[MOST_PACKS];
    float squares = 0.0f;
    for (int j = 0, i = threadIdx.x; i < packs; ++j, i += blockDim.x) {
        mine[j] = x[i];
        if (residual) {
            Pack<T, N>* stream = residual + static_cast<int64_t>(blockIdx.x) * packs + i;
            *stream = mine[j] = added(*stream, mine[j]);
        }
        squares += sum_of_squares(mine[j]);
    }
    const float mean = block_sum(squares) / static_cast<float>(packs * N);
    for (int j = 0, i = threadIdx.x; i < packs; ++j, i += blockDim.x) {
        out[i] = scaled(mine[j], 1.0f / sqrtf(mean + eps), weight[i]);
    }
}
""",
        """
template <typename T, int N>
__device__ float square(const Pack<T, N>& pack) {
    float total = 0.0f;
    for (int e = 0; e < N; ++e) {
        const float value = to_float(pack.at[e]);
        total = fmaf(value, value, total);
    }
    return total;
}

template <typename T, int N>
__global__ void __launch_bounds__(MOST_THREADS)
rms_norm_2_kernel(const Pack<T, N>* x, Pack<T, N>* residual, const Pack<T, N>* weight, Pack<T, N>* out, int packs,
                  float eps) {
    const int64_t begin = int64_t(packs) * blockIdx.x;
    Pack<T, N> row[MOST_PACKS];
    float sum = 0.0f;
    for (int j = 0; j < MOST_PACKS; ++j) {
        const int64_t at = j * blockDim.x + threadIdx.x;
        if (at >= packs) break;
        row[j] = residual == nullptr ? x[begin + at] : added(x[begin + at], residual[begin + at]);
        if (residual != nullptr) residual[begin + at] = row[j];
        sum += square(row[j]);
    }
    sum = block_sum(sum);
    for (int j = 0; j < MOST_PACKS; ++j) {
        const int64_t at = j * blockDim.x + threadIdx.x;
        if (at >= packs) break;
        out[begin + at] = scaled(row[j], rsqrtf(eps + sum / (N * packs)), weight[at]);
    }
}
""",
        """
template <typename T, int N>
__global__ void __launch_bounds__(MOST_THREADS)
rms_norm_2_kernel(const Pack<T, N>* x, Pack<T, N>* residual, const Pack<T, N>* weight, Pack<T, N>* out, int packs,
                  float eps) {
    const int64_t first = static_cast<int64_t>(blockIdx.x) * packs + threadIdx.x;
    const int count = threadIdx.x < packs ? (packs - threadIdx.x + blockDim.x - 1) / blockDim.x : 0;
    float values[MOST_PACKS * N];
    float sum = 0.0f;
    for (int j = 0; j < count; ++j) {
        Pack<T, N> pack = x[first + j * blockDim.x];
        if (residual != nullptr) {
            residual[first + j * blockDim.x] = pack = added(pack, residual[first + j * blockDim.x]);
        }
        for (int e = 0; e < N; ++e) {
            values[j * N + e] = to_float(pack.at[e]);
            sum += values[j * N + e] * values[j * N + e];
        }
    }
    const float scale = rsqrtf(block_sum(sum) / packs / N + eps);
    for (int j = 0; j < count; ++j) {
        Pack<T, N> pack;
        for (int e = 0; e < N; ++e) {
            pack.at[e] = from_float<T>(values[j * N + e]);
        }
        out[first + j * blockDim.x] = scaled(pack, scale, weight[threadIdx.x + j * blockDim.x]);
    }
}
""",
    ],
    "11.2": [
        """
template <typename T, int N>
__global__ void rope_kernel(T* x, const float* cos, const float* sin, int num_heads, int packs, int64_t token_stride) {
    x += blockIdx.x * token_stride;
    cos += static_cast<int64_t>(blockIdx.x) * packs * N;
    sin += static_cast<int64_t>(blockIdx.x) * packs * N;
    for (int head = 0; head < num_heads; ++head) {
        Pack<T, N>* pairs = reinterpret_cast<Pack<T, N>*>(x + head * 2 * packs * N);
        for (int i = threadIdx.x; i < packs; i += blockDim.x) {
            const Pack<T, N> a = pairs[i], b = pairs[i + packs];
            Pack<T, N> first, second;
            for (int e = 0; e < N; ++e) {
                const float c = cos[i * N + e], s = sin[i * N + e];
                first.at[e] = from_float<T>(to_float(a.at[e]) * c - to_float(b.at[e]) * s);
                second.at[e] = from_float<T>(to_float(b.at[e]) * c + to_float(a.at[e]) * s);
            }
            pairs[i] = first;
            pairs[i + packs] = second;
        }
    }
}
""",
        """
template <typename T>
__device__ void turn(T& a, T& b, float c, float s) {
    const float old_a = to_float(a), old_b = to_float(b);
    a = from_float<T>(old_a * c - old_b * s);
    b = from_float<T>(old_b * c + old_a * s);
}

template <typename T, int N>
__global__ void rope_kernel(T* x, const float* cos, const float* sin, int num_heads, int packs, int64_t token_stride) {
    const int half = packs * N;
    const int64_t angle = static_cast<int64_t>(blockIdx.x) * half;
    int work = threadIdx.x;
    while (work < num_heads * packs) {
        T* head = x + blockIdx.x * token_stride + (work / packs) * 2 * half;
        const int from = work % packs * N;
        for (int i = from; i < from + N; ++i) {
            turn(head[i], head[i + half], cos[angle + i], sin[angle + i]);
        }
        work += blockDim.x;
    }
}
""",
        """
template <typename T, int N>
__global__ void rope_kernel(T* x, const float* cos, const float* sin, int num_heads, int packs, int64_t token_stride) {
    const int64_t token = blockIdx.x;
    for (int i = threadIdx.x; i < num_heads * packs; i += blockDim.x) {
        const int head = i % num_heads, pack = i / num_heads;
        Pack<T, N>* first = reinterpret_cast<Pack<T, N>*>(x + token * token_stride) + head * 2 * packs + pack;
        Pack<T, N>* second = first + packs;
        const Pack<T, N> a = *first, b = *second;
        for (int e = 0; e < N; ++e) {
            const int64_t angle = (token * packs + pack) * N + e;
            first->at[e] = from_float<T>(fmaf(to_float(a.at[e]), cos[angle], -to_float(b.at[e]) * sin[angle]));
            second->at[e] = from_float<T>(fmaf(to_float(b.at[e]), cos[angle], to_float(a.at[e]) * sin[angle]));
        }
    }
}
""",
    ],
    "11.3": [
        """
template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    const int i = threadIdx.x + blockDim.x * blockIdx.y;
    if (i < packs) {
        const Pack<T, N>* row = gate_up + static_cast<int64_t>(blockIdx.x) * 2 * packs;
        Pack<T, N> gate = row[i], up = row[packs + i];
        for (int e = 0; e < N; ++e) {
            const float z = to_float(gate.at[e]);
            gate.at[e] = from_float<T>(to_float(from_float<T>(z / (1.0f + expf(-z)))) * to_float(up.at[e]));
        }
        out[static_cast<int64_t>(blockIdx.x) * packs + i] = gate;
    }
}
""",
        """
__device__ float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    const int64_t row = blockIdx.x;
    for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < packs; i += gridDim.y * blockDim.x) {
        const Pack<T, N> gate = gate_up[2 * row * packs + i];
        const Pack<T, N> up = gate_up[(2 * row + 1) * packs + i];
        Pack<T, N> result;
        for (int e = 0; e < N; ++e) {
            const float z = to_float(gate.at[e]);
            result.at[e] = from_float<T>(to_float(from_float<T>(z * sigmoid(z))) * to_float(up.at[e]));
        }
        out[row * packs + i] = result;
    }
}
""",
        """
template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    const int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= packs) return;
    const int64_t start = static_cast<int64_t>(blockIdx.x) * packs;
    Pack<T, N> pair[2] = {gate_up[2 * start + i], gate_up[2 * start + packs + i]};
    for (int e = 0; e < N; ++e) {
        float z = to_float(pair[0].at[e]);
        z = z * (1.0f / (1.0f + expf(-z)));
        pair[1].at[e] = from_float<T>(to_float(from_float<T>(z)) * to_float(pair[1].at[e]));
    }
    out[start + i] = pair[1];
}
""",
    ],
}
