// The gate of the MLP: out = silu(gate) * up, with silu(z) = z / (1 + exp(-z)).
//
// gate_up: [num_rows, 2 * size], the gate in the first half of each row and up in the second; out: [num_rows, size]
//
// 1 silu_mul_1_elements   a thread makes one element of the result
// 2 silu_mul_2_packs      a thread makes 16 bytes of it.
//
// Measured on an H100, 8,192 x 14,336 in bf16 (yaie/bench/results): 404 us, 243 us; torch, operation by operation,
// 701 us. As two operations, silu would write its result and the product would read it again: 5 rows of `size` numbers
// moved instead of 3.
//
// silu(gate) is rounded to the dtype before the product, as two operations would do it.
#include "packs.cuh"

constexpr int THREADS = 256;

// Make pack blockIdx.y * blockDim.x + threadIdx.x of row blockIdx.x of the result, if the row has it: it has `packs` of
// them. Rounded to T twice: silu(gate), and the product.
template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    const int64_t row = blockIdx.x;
    const int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= packs) {
        return;
    }
    const Pack<T, N> gate = gate_up[row * 2 * packs + i];
    const Pack<T, N> up = gate_up[row * 2 * packs + packs + i];
    Pack<T, N> result;
    for (int e = 0; e < N; ++e) {
        const float z = to_float(gate.at[e]);
        const T silu = from_float<T>(z / (1.0f + expf(-z)));
        result.at[e] = from_float<T>(to_float(silu) * to_float(up.at[e]));
    }
    out[row * packs + i] = result;
}

static int launch_silu_mul(const void* gate_up, void* out, int num_rows, int size, int dtype, bool wide,
                           cudaStream_t stream) {
    if (num_rows == 0 || size == 0) {
        return cudaSuccess;
    }
    return dispatch_packs(dtype, wide, [&](auto* type, auto* pack) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        using P = std::remove_pointer_t<decltype(pack)>;
        constexpr int N = sizeof(P) / sizeof(T);
        const int packs = size / N;
        const int threads = threads_for(packs, THREADS);
        const dim3 grid(num_rows, (packs + threads - 1) / threads);
        const P* input = static_cast<const P*>(gate_up);
        silu_mul_kernel<T, N><<<grid, threads, 0, stream>>>(input, static_cast<P*>(out), packs);
        return cudaGetLastError();
    });
}

extern "C" int silu_mul_1_elements(const void* gate_up, void* out, int num_rows, int size, int dtype,
                                   cudaStream_t stream) {
    return launch_silu_mul(gate_up, out, num_rows, size, dtype, false, stream);
}

// One by one where a half row is not a whole number of packs.
extern "C" int silu_mul_2_packs(const void* gate_up, void* out, int num_rows, int size, int dtype,
                                cudaStream_t stream) {
    const int bytes = dtype == DTYPE_FLOAT32 ? 4 : 2;
    const bool wide = static_cast<int64_t>(size) * bytes % 16 == 0 && on_16_bytes(gate_up) && on_16_bytes(out);
    return launch_silu_mul(gate_up, out, num_rows, size, dtype, wide, stream);
}
