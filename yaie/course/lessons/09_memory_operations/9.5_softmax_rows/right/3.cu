// The maximum and the sum of a thread's numbers come in one pass, and so do those of two threads.
struct State {
    float most, sum;
};

__device__ State merged(State a, State b) {
    const float most = fmaxf(a.most, b.most);
    if (most == -INFINITY) return {most, 0.0f};
    return {most, a.sum * expf(a.most - most) + b.sum * expf(b.most - most)};
}

template <int THREADS_OF_BLOCK>
__global__ void online_softmax(const float* x, float* y, int num_rows, int size) {
    __shared__ State states[THREADS_OF_BLOCK];
    extern __shared__ float row[];
    for (int r = blockIdx.x; r < num_rows; r += gridDim.x) {
        State state = {-INFINITY, 0.0f};
        for (int i = threadIdx.x; i < size; i += THREADS_OF_BLOCK) {
            row[i] = x[static_cast<int64_t>(r) * size + i];
            state = merged(state, {row[i], 1.0f});
        }
        states[threadIdx.x] = state;
        __syncthreads();
        for (int half = THREADS_OF_BLOCK / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) states[threadIdx.x] = merged(states[threadIdx.x], states[threadIdx.x + half]);
            __syncthreads();
        }
        state = states[0];
        for (int i = threadIdx.x; i < size; i += THREADS_OF_BLOCK) {
            y[static_cast<int64_t>(r) * size + i] = expf(row[i] - state.most) / state.sum;
        }
        __syncthreads();
    }
}

extern "C" int softmax_rows(const float* x, float* y, int num_rows, int size, cudaStream_t stream) {
    if (static_cast<int64_t>(num_rows) * size > 0) {
        const int blocks = num_rows < 1024 ? num_rows : 1024;
        online_softmax<128><<<blocks, 128, size * sizeof(float), stream>>>(x, y, num_rows, size);
    }
    return cudaGetLastError();
}
