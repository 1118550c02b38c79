// Sum of n floats. total: [1], set to 0 by the launcher.
//
// 1 reduce_1_atomics   every element is added to one place in memory by an atomic operation: they wait for each other
// 2 reduce_2_shared    each thread block adds up its elements in shared memory, half the threads in each round; one
//                      atomic per block
// 3 reduce_3_shuffle   each warp adds up in registers with shuffles; shared memory only carries one sum per warp
//
// Float addition is not associative: the three give sums that differ in the last digits.
#include <cuda_runtime.h>
#include <stdint.h>

constexpr int THREADS = 256;  // per thread block

// Thread i adds x[i] to total.
__global__ void reduce_1_kernel(const float* x, float* total, int64_t n) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < n) {
        atomicAdd(total, x[i]);
    }
}

// Add the sum of the THREADS elements of each thread block to total, with one atomicAdd per block: the sum is gathered
// in shared memory, in log2(THREADS) rounds. The last block may have fewer elements.
__global__ void reduce_2_kernel(const float* x, float* total, int64_t n) {
    __shared__ float partial[THREADS];
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    partial[threadIdx.x] = i < n ? x[i] : 0.0f;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            partial[threadIdx.x] += partial[threadIdx.x + half];
        }
        __syncthreads();  // outside the if: every thread of the block must come here
    }
    if (threadIdx.x == 0) {
        atomicAdd(total, partial[0]);
    }
}

// The sum over the 32 lanes of a warp, in lane 0. All lanes must call it.
__device__ float warp_sum(float value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        value += __shfl_down_sync(0xffffffff, value, distance);
    }
    return value;
}

// Add the sum of x to total, with any number of thread blocks of THREADS threads and one atomicAdd in each.
__global__ void reduce_3_kernel(const float* x, float* total, int64_t n) {
    __shared__ float of_warp[THREADS / 32];
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    float sum = 0.0f;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
        sum += x[i];
    }
    sum = warp_sum(sum);
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    if (lane == 0) {
        of_warp[warp] = sum;
    }
    __syncthreads();
    if (warp == 0) {
        sum = warp_sum(lane < THREADS / 32 ? of_warp[lane] : 0.0f);
        if (lane == 0) {
            atomicAdd(total, sum);
        }
    }
}

static int64_t blocks_for(int64_t n) { return n > 0 ? (n + THREADS - 1) / THREADS : 1; }

extern "C" int reduce_1_atomics(const float* x, float* total, int64_t n, cudaStream_t stream) {
    cudaMemsetAsync(total, 0, sizeof(float), stream);
    reduce_1_kernel<<<blocks_for(n), THREADS, 0, stream>>>(x, total, n);
    return cudaGetLastError();
}

extern "C" int reduce_2_shared(const float* x, float* total, int64_t n, cudaStream_t stream) {
    cudaMemsetAsync(total, 0, sizeof(float), stream);
    reduce_2_kernel<<<blocks_for(n), THREADS, 0, stream>>>(x, total, n);
    return cudaGetLastError();
}

extern "C" int reduce_3_shuffle(const float* x, float* total, int64_t n, cudaStream_t stream) {
    cudaMemsetAsync(total, 0, sizeof(float), stream);
    const int64_t most = 1024;  // a grid-stride loop needs no more blocks than the card can keep busy
    const int64_t blocks = blocks_for(n) < most ? blocks_for(n) : most;
    reduce_3_kernel<<<blocks, THREADS, 0, stream>>>(x, total, n);
    return cudaGetLastError();
}
