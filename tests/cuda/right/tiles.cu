// Kernels that work on tiles: transposes, matrix products, attention, tensor cores, asynchronous copies.
#include <yaie_ptx.cuh>

#include <cfloat>

#include "tiles_common.cuh"

// call: transpose(x=randn(70, 45), y=zeros(45, 70), rows=70, columns=45)
// want: y = x.t().contiguous()
__global__ void transpose_kernel(const float* x, float* y, int rows, int columns) {
  __shared__ float tile[kTile][kTile + 1];
  int column = blockIdx.x * kTile + threadIdx.x, row0 = blockIdx.y * kTile;
  for (int r = threadIdx.y; r < kTile; r += blockDim.y) {
    if (row0 + r < rows && column < columns) tile[r][threadIdx.x] = x[(row0 + r) * columns + column];
  }
  __syncthreads();
  int out_column = row0 + threadIdx.x;
  for (int r = threadIdx.y; r < kTile; r += blockDim.y) {
    int out_row = blockIdx.x * kTile + r;
    if (out_row < columns && out_column < rows) y[out_row * rows + out_column] = tile[threadIdx.x][r];
  }
}
extern "C" int transpose(const float* x, float* y, int rows, int columns) {
  dim3 grid(ceil_div(columns, kTile), ceil_div(rows, kTile));
  transpose_kernel<<<grid, dim3(kTile, 8)>>>(x, y, rows, columns);
  return cudaGetLastError();
}

// call: matmul(a=randn(33, 50), b=randn(50, 20), c=zeros(33, 20), m=33, n=20, k=50)
// want: c = a @ b
// tolerance: 1e-4
template <int T>
__global__ void matmul_kernel(const float* a, const float* b, float* c, int m, int n, int k) {
  __shared__ float as[T][T], bs[T][T];
  int row = blockIdx.y * T + threadIdx.y, column = blockIdx.x * T + threadIdx.x;
  float sum = 0.0f;
  for (int k0 = 0; k0 < k; k0 += T) {
    as[threadIdx.y][threadIdx.x] = row < m && k0 + threadIdx.x < k ? a[row * k + k0 + threadIdx.x] : 0.0f;
    bs[threadIdx.y][threadIdx.x] = column < n && k0 + threadIdx.y < k ? b[(k0 + threadIdx.y) * n + column] : 0.0f;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < T; ++i) sum += as[threadIdx.y][i] * bs[i][threadIdx.x];
    __syncthreads();
  }
  if (row < m && column < n) c[row * n + column] = sum;
}
extern "C" int matmul(const float* a, const float* b, float* c, int m, int n, int k) {
  auto kernel = matmul_kernel<16>;
  kernel<<<dim3(ceil_div(n, 16), ceil_div(m, 16)), dim3(16, 16)>>>(a, b, c, m, n, k);
  return cudaGetLastError();
}

// call: attention(q=randn(2, 40, 32), k=randn(2, 40, 32), v=randn(2, 40, 32), o=zeros(2, 40, 32), length=40, scale=0.25)
// want: o = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.25)
// tolerance: 1e-5
// Tiles of 16 keys in dynamic shared memory, running maximum and sum, causal. Four threads share a row.
template <int D, int ROWS, int KEYS>
__global__ void attention_kernel(const float* q, const float* k, const float* v, float* o, int length, float scale) {
  extern __shared__ __align__(16) float smem[];
  float(*queries)[D + 1] = reinterpret_cast<float(*)[D + 1]>(smem);
  float(*keys)[D + 1] = queries + ROWS;
  float(*values)[D + 1] = keys + KEYS;
  const int row = threadIdx.x / 4, part = threadIdx.x % 4, first = blockIdx.x * ROWS;
  const long base = (long)blockIdx.y * length * D;
  for (int i = threadIdx.x; i < ROWS * D; i += blockDim.x) {
    queries[i / D][i % D] = first + i / D < length ? q[base + (first + i / D) * D + i % D] * scale : 0.0f;
  }
  float most = -FLT_MAX, sum = 0.0f, acc[D / 4] = {};
  for (int k0 = 0; k0 < min(length, first + ROWS); k0 += KEYS) {
    __syncthreads();
    for (int i = threadIdx.x; i < KEYS * D; i += blockDim.x) {
      bool in = k0 + i / D < length;
      keys[i / D][i % D] = in ? k[base + (k0 + i / D) * D + i % D] : 0.0f;
      values[i / D][i % D] = in ? v[base + (k0 + i / D) * D + i % D] : 0.0f;
    }
    __syncthreads();
    for (int j = 0; j < KEYS && k0 + j <= first + row; ++j) {
      float score = 0.0f;
      for (int d = part; d < D; d += 4) score += queries[row][d] * keys[j][d];
      score += __shfl_xor_sync(0xfu << (threadIdx.x % 32 & ~3), score, 1, 4);
      score += __shfl_xor_sync(0xfu << (threadIdx.x % 32 & ~3), score, 2, 4);
      float now = fmaxf(most, score), shrink = __expf(most - now), p = __expf(score - now);
      sum = sum * shrink + p;
      for (int i = 0; i < D / 4; ++i) acc[i] = acc[i] * shrink + p * values[j][part + 4 * i];
      most = now;
    }
  }
  if (first + row < length) {
    for (int i = 0; i < D / 4; ++i) o[base + (first + row) * D + part + 4 * i] = acc[i] / sum;
  }
}
extern "C" int attention(const float* q, const float* k, const float* v, float* o, int length, float scale,
                         cudaStream_t stream) {
  constexpr int D = 32, ROWS = 16, KEYS = 16;
  size_t bytes = sizeof(float) * (ROWS + 2 * KEYS) * (D + 1);
  cudaFuncSetAttribute(attention_kernel<D, ROWS, KEYS>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
  attention_kernel<D, ROWS, KEYS><<<dim3(ceil_div(length, ROWS), 2), ROWS * 4, bytes, stream>>>(q, k, v, o, length, scale);
  return cudaGetLastError();
}

// call: gemm_bf16(a=randn(64, 64).bfloat16(), b=randn(64, 64).bfloat16(), c=zeros(64, 64), m=64, n=64, k=64)
// want: c = a.float() @ b.float()
// tolerance: 1e-3
constexpr int BM = 32, BN = 32, BK = 32, PAD = 8;
template <class Half>
__device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
__device__ void multiply<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  yaie::mma_m16n8k16_bf16(d, a, b, d);
}
template <>
__device__ void multiply<__half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  yaie::mma_m16n8k16_f16(d, a, b, d);
}
template <class Half, int STAGES>
__global__ void gemm_kernel(const Half* a, const Half* b, float* c, int m, int n, int k) {
  __shared__ __align__(16) Half as[STAGES][BM][BK + PAD], bs[STAGES][BK][BN + PAD];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, m0 = blockIdx.y * BM, n0 = blockIdx.x * BN;
  float acc[4][4] = {};
  auto load = [&](int stage, int k0) {
    for (int i = threadIdx.x; i < BM * BK / 8; i += blockDim.x) {
      int row = i / (BK / 8), column = i % (BK / 8) * 8;
      yaie::cp_async_16(&as[stage][row][column], &a[(m0 + row) * k + k0 + column]);
    }
    for (int i = threadIdx.x; i < BK * BN / 8; i += blockDim.x) {
      int row = i / (BN / 8), column = i % (BN / 8) * 8;
      yaie::cp_async_16(&bs[stage][row][column], &b[(k0 + row) * n + n0 + column]);
    }
    yaie::cp_async_commit();
  };
  load(0, 0);
  for (int k0 = 0, stage = 0; k0 < k; k0 += BK, stage ^= 1) {
    if (k0 + BK < k) {
      load(stage ^ 1, k0 + BK);
      yaie::cp_async_wait<1>();
    } else {
      yaie::cp_async_wait<0>();
    }
    __syncthreads();
    for (int kk = 0; kk < BK; kk += 16) {
      uint32_t fa[4], fb[4];
      yaie::ldmatrix_x4(fa, &as[stage][warp * 16 + lane % 16][kk + lane / 16 * 8]);
      for (int j = 0; j < 4; j += 2) {
        yaie::ldmatrix_x4_trans(fb, &bs[stage][kk + lane % 16][j * 8 + lane / 16 * 8]);
        multiply<Half>(acc[j], fa, {fb[0], fb[1]});
        multiply<Half>(acc[j + 1], fa, {fb[2], fb[3]});
      }
    }
    __syncthreads();
  }
  for (int j = 0; j < 4; ++j) {
    int row = m0 + warp * 16 + lane / 4, column = n0 + j * 8 + lane % 4 * 2;
    *reinterpret_cast<float2*>(&c[row * n + column]) = make_float2(acc[j][0], acc[j][1]);
    *reinterpret_cast<float2*>(&c[(row + 8) * n + column]) = make_float2(acc[j][2], acc[j][3]);
  }
}
extern "C" int gemm_bf16(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int m, int n, int k) {
  gemm_kernel<__nv_bfloat16, 2><<<dim3(n / BN, m / BM), 64>>>(a, b, c, m, n, k);
  return cudaGetLastError();
}

// call: gemm_f16(a=randn(32, 96).half(), b=randn(96, 64).half(), c=zeros(32, 64), m=32, n=64, k=96)
// want: c = a.float() @ b.float()
// tolerance: 1e-3
extern "C" int gemm_f16(const half* a, const half* b, float* c, int m, int n, int k) {
  gemm_kernel<__half, 2><<<dim3(n / BN, m / BM), 64>>>(a, b, c, m, n, k);
  return cudaGetLastError();
}

// call: append_kv(k=randn(3, 2, 8), cache=zeros(4, 4, 2, 8), slots=torch.tensor([5, 2, 11]))
// want: cache = scatter(cache, slots, k)
__global__ void append_kernel(const float* k, float* cache, const int64_t* slots, int row) {
  int64_t slot = slots[blockIdx.x];
  if (slot < 0) return;
  for (int i = threadIdx.x; i < row; i += blockDim.x) cache[slot * row + i] = k[blockIdx.x * row + i];
}
extern "C" int append_kv(const float* k, float* cache, const int64_t* slots) {
  append_kernel<<<3, 32>>>(k, cache, slots, 16);
  return cudaGetLastError();
}

// call: two_launches(x=randn(128), scratch=zeros(128), y=zeros(128))
// want: y = x.flip(0) * 4; scratch = x * 2
// The second launch reads what other blocks of the first one wrote: launches are in order.
__global__ void twice_kernel(const float* x, float* y) { y[blockIdx.x * 32 + threadIdx.x] = 2 * x[blockIdx.x * 32 + threadIdx.x]; }
__global__ void flip_kernel(const float* x, float* y) { y[blockIdx.x * 32 + threadIdx.x] = 2 * x[127 - blockIdx.x * 32 - threadIdx.x]; }
extern "C" int two_launches(const float* x, float* scratch, float* y) {
  cudaStream_t stream;
  cudaEvent_t start, stop;
  cudaStreamCreate(&stream);
  cudaEventCreate(&start);
  cudaEventCreate(&stop);
  cudaEventRecord(start, stream);
  twice_kernel<<<4, 32, 0, stream>>>(x, scratch);
  flip_kernel<<<4, 32, 0, stream>>>(scratch, y);
  cudaEventRecord(stop, stream);
  cudaEventSynchronize(stop);
  float ms = -1.0f;
  cudaEventElapsedTime(&ms, start, stop);
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  cudaStreamDestroy(stream);
  return ms >= 0 ? cudaGetLastError() : cudaErrorInvalidValue;
}

// call: own_memory(x=randn(64), y=zeros(64))
// want: y = x + 1
__global__ void add_one_kernel(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x] + 1.0f; }
extern "C" int own_memory(const float* x, float* y) {
  float* scratch = nullptr;
  int blocks = 0;
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add_one_kernel, 64, 0);
  if (blocks < 1 || cudaMalloc(&scratch, 64 * sizeof(float)) != cudaSuccess) return cudaErrorMemoryAllocation;
  cudaMemset(scratch, 0, 64 * sizeof(float));
  add_one_kernel<<<1, 64>>>(x, scratch);
  cudaMemcpy(y, scratch, 64 * sizeof(float), cudaMemcpyDeviceToDevice);
  return cudaFree(scratch);
}

// call: powers(x=randn(64) * 20, y=zeros(64))
// want: y = torch.exp2(x)
// tolerance: 1e-6
__global__ void powers_kernel(const float* x, float* y) { y[threadIdx.x] = yaie::fast_exp2(x[threadIdx.x]); }
extern "C" int powers(const float* x, float* y) {
  powers_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}
