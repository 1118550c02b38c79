// RMSNorm: divide each row by its root mean square, then multiply by a weight. With a residual, add that first.
//
// x, out: [num_rows, size]; weight: [size]; all of one dtype
// residual: like x, or null. It is changed: it holds x + residual afterwards, and the norm is that of the sum.
//
// 1 rms_norm_1_two_pass   one element at a time; a row is read once for the sum of its squares and once more to be
//                         divided. A residual is added by a kernel of its own before: x and the residual are read, and
//                         the sum is written, to be read twice by the norm.
// 2 rms_norm_2_one_pass   16 bytes at a time; a row stays in the registers of its thread block between the sum and the
//                         division, and the residual is added as x is read (fused). Everything is read once and
//                         written once: 4 rows moved with a residual instead of 6, 2 without instead of 3. (In rung 1 a
//                         row that still lies in the cache is not read from memory again.)
//
// Measured on an H100 with a residual, 8,192 x 4,096 in bf16 (yaie/bench/results): 166 us, 98 us (2.7 TB/s, nine tenths
// of what a copy reaches); torch, operation by operation, 597 us.
//
// The sum is in float. The quotient is rounded to the dtype before it is multiplied, as torch does it.
#include "packs.cuh"

constexpr int THREADS = 256;

template <typename T>
__global__ void add_kernel(const T* x, T* residual, int64_t n) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < n) {
        residual[i] = from_float<T>(to_float(x[i]) + to_float(residual[i]));
    }
}

// Thread block r norms row r.
template <typename T>
__global__ void rms_norm_1_kernel(const T* x, const T* weight, T* out, int size, float eps) {
    __shared__ float partial[THREADS];
    const T* row = x + static_cast<int64_t>(blockIdx.x) * size;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < size; i += THREADS) {
        sum += to_float(row[i]) * to_float(row[i]);
    }
    partial[threadIdx.x] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            partial[threadIdx.x] += partial[threadIdx.x + half];
        }
        __syncthreads();
    }
    const float scale = rsqrtf(partial[0] / size + eps);
    for (int i = threadIdx.x; i < size; i += THREADS) {
        const T quotient = from_float<T>(to_float(row[i]) * scale);
        out[static_cast<int64_t>(blockIdx.x) * size + i] = from_float<T>(to_float(quotient) * to_float(weight[i]));
    }
}

// The sum over a thread block of up to 32 whole warps, in every thread. All threads must call it, and only once.
__device__ float block_sum(float value) {
    __shared__ float of_warp[32];
    const int lane = threadIdx.x % 32;
    value = warp_sum(value);
    if (lane == 0) {
        of_warp[threadIdx.x / 32] = value;
    }
    __syncthreads();
    return warp_sum(lane < blockDim.x / 32 ? of_warp[lane] : 0.0f);
}

// Packs come by value: one access reads the whole pack, instead of one for each element.
template <typename T, int N>
__device__ Pack<T, N> added(Pack<T, N> a, Pack<T, N> b) {
    for (int e = 0; e < N; ++e) {
        a.at[e] = from_float<T>(to_float(a.at[e]) + to_float(b.at[e]));
    }
    return a;
}

constexpr int MOST_THREADS = 1024, MOST_PACKS = 4;  // in a thread block; of its row that a thread keeps

// Thread block r norms row r, which has `packs` packs, at most MOST_PACKS for each thread. Neighbouring threads have
// neighbouring packs. No row is read twice: it stays in registers between the sum of its squares and the division.
// Where residual is not null, x + residual is normed, and written back to it.
template <typename T, int N>
__global__ void __launch_bounds__(MOST_THREADS)  // at most 64 registers, or 1,024 threads could not be launched
rms_norm_2_kernel(const Pack<T, N>* x, Pack<T, N>* residual, const Pack<T, N>* weight, Pack<T, N>* out, int packs,
                  float eps) {
    const int64_t row = static_cast<int64_t>(blockIdx.x) * packs;
    Pack<T, N> kept[MOST_PACKS];
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < MOST_PACKS; ++j) {
        const int i = threadIdx.x + j * blockDim.x;
        if (i < packs) {
            kept[j] = x[row + i];
            if (residual != nullptr) {
                kept[j] = added(kept[j], residual[row + i]);
                residual[row + i] = kept[j];
            }
            sum += sum_of_squares(kept[j]);
        }
    }
    const float scale = rsqrtf(block_sum(sum) / (packs * N) + eps);
#pragma unroll
    for (int j = 0; j < MOST_PACKS; ++j) {
        const int i = threadIdx.x + j * blockDim.x;
        if (i < packs) {
            out[row + i] = scaled(kept[j], scale, weight[i]);
        }
    }
}

extern "C" int rms_norm_1_two_pass(const void* x, void* residual, const void* weight, void* out, int num_rows, int size,
                                   float eps, int dtype, cudaStream_t stream) {
    if (num_rows == 0 || size == 0) {
        return cudaSuccess;
    }
    return dispatch_dtype(dtype, [&](auto* type) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        const T* rows = static_cast<const T*>(x);
        if (residual != nullptr) {
            const int64_t n = static_cast<int64_t>(num_rows) * size;
            add_kernel<T><<<(n + THREADS - 1) / THREADS, THREADS, 0, stream>>>(rows, static_cast<T*>(residual), n);
            rows = static_cast<const T*>(residual);
        }
        rms_norm_1_kernel<T><<<num_rows, THREADS, 0, stream>>>(rows, static_cast<const T*>(weight),
                                                               static_cast<T*>(out), size, eps);
        return cudaGetLastError();
    });
}

// Rows of more than 4,096 packs (16,384 floats, 32,768 halves) do not fit into the registers and go through rung 1.
extern "C" int rms_norm_2_one_pass(const void* x, void* residual, const void* weight, void* out, int num_rows, int size,
                                   float eps, int dtype, cudaStream_t stream) {
    if (num_rows == 0 || size == 0) {
        return cudaSuccess;
    }
    const int bytes = dtype == DTYPE_FLOAT32 ? 4 : 2;
    const bool wide = static_cast<int64_t>(size) * bytes % 16 == 0 && on_16_bytes(x) && on_16_bytes(residual) &&
                      on_16_bytes(weight) && on_16_bytes(out);
    const int packs = wide ? size / (16 / bytes) : size;
    if (packs > MOST_THREADS * MOST_PACKS) {
        return rms_norm_1_two_pass(x, residual, weight, out, num_rows, size, eps, dtype, stream);
    }
    return dispatch_packs(dtype, wide, [&](auto* type, auto* pack) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        using P = std::remove_pointer_t<decltype(pack)>;
        rms_norm_2_kernel<T, sizeof(P) / sizeof(T)><<<num_rows, threads_for(packs, MOST_THREADS), 0, stream>>>(
            static_cast<const P*>(x), static_cast<P*>(residual), static_cast<const P*>(weight), static_cast<P*>(out),
            packs, eps);
        return cudaGetLastError();
    });
}
