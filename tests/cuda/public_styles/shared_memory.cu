// Shared memory in every spelling.
#include <type_traits>
#define DECLARE_TILE(T, name, n) __shared__ T name[n]
#define SMEM __shared__
struct Pair { float key; int value; };
template <int N> struct Storage { float items[N]; };

// call: after_the_type(x=f(32))
// want: x = x.flip(0)
__global__ void after_type(float *x) {
  float __shared__ s[32];
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = s[31 - threadIdx.x];
}
extern "C" int after_the_type(float *x) { after_type<<<1, 32>>>(x); return cudaGetLastError(); }

// call: extern_type_shared(x=f(32), y=f(32))
// want: x = x.flip(0); y = y.flip(0)
__global__ void extern_1(float *x) {
  extern float __shared__ first[];
  first[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = first[blockDim.x - 1 - threadIdx.x];
}
__global__ void extern_2(float *x) {
  __shared__ extern float second[];
  second[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = second[blockDim.x - 1 - threadIdx.x];
}
extern "C" int extern_type_shared(float *x, float *y) {
  extern_1<<<1, 32, 32 * sizeof(float)>>>(x);
  extern_2<<<1, 32, 32 * sizeof(float)>>>(y);
  return cudaGetLastError();
}

// call: at_file_scope(x=f(32), y=f(32))
// want: x = x.flip(0) + 1; y = y.flip(0)
__shared__ float file_tile[32];
static __shared__ int file_flag;
extern __shared__ float file_dynamic[];
__device__ float from_file_tile(int i) { return file_tile[i]; }
__global__ void file_scope_1(float *x) {
  file_tile[threadIdx.x] = x[threadIdx.x];
  if (threadIdx.x == 0) file_flag = 1;
  __syncthreads();
  x[threadIdx.x] = from_file_tile(31 - threadIdx.x) + file_flag;
}
__global__ void file_scope_2(float *y) {
  file_dynamic[threadIdx.x] = y[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = file_dynamic[31 - threadIdx.x];
}
extern "C" int at_file_scope(float *x, float *y) {
  file_scope_1<<<1, 32>>>(x);
  file_scope_2<<<1, 32, 128>>>(y);
  return cudaGetLastError();
}

// call: with_a_body(x=f(32))
// want: x = x.flip(0) + 4
__global__ void anonymous_struct(float *x) {
  __shared__ struct { float values[32]; int extra; } s;
  __shared__ union { float f[32]; int i[32]; } u;
  if (threadIdx.x == 0) s.extra = 4;
  u.f[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  s.values[threadIdx.x] = u.f[31 - threadIdx.x];
  x[threadIdx.x] = s.values[threadIdx.x] + s.extra;
}
extern "C" int with_a_body(float *x) { anonymous_struct<<<1, 32>>>(x); return cudaGetLastError(); }

// call: in_macros(x=f(32))
// want: x = x.flip(0) * 2
__global__ void macro_declared(float *x) {
  DECLARE_TILE(float, tile, 32); SMEM float by;
  tile[threadIdx.x] = x[threadIdx.x]; if (!threadIdx.x) by = 2;
  __syncthreads();
  x[threadIdx.x] = tile[31 - threadIdx.x] * by;
}
extern "C" int in_macros(float *x) { macro_declared<<<1, 32>>>(x); return cudaGetLastError(); }

// call: several_names(x=f(32))
// want: x = x + x.flip(0) + 1
__global__ void several(float *x) {
  __shared__ float a[32], b[2][16 + 1], one, *p;
  a[threadIdx.x] = x[threadIdx.x];
  b[threadIdx.x / 16][threadIdx.x % 16] = x[threadIdx.x];
  if (threadIdx.x == 0) { one = 1; p = a; }
  __syncthreads();
  int i = 31 - threadIdx.x;
  x[threadIdx.x] = p[i] + b[threadIdx.x / 16][threadIdx.x & 15] + one;
}
extern "C" int several_names(float *x) { several<<<1, 32>>>(x); return cudaGetLastError(); }

// call: of_templates(x=f(32))
// want: x = x.flip(0)
template <typename T, int N> __global__ void templated(T *x) {
  typedef Storage<N> Store;
  __shared__ typename std::enable_if<(N > 1), Store>::type storage;
  __shared__ Pair pairs[N];
  storage.items[threadIdx.x] = x[threadIdx.x];
  pairs[threadIdx.x] = {x[threadIdx.x], (int)threadIdx.x};
  __syncthreads();
  x[threadIdx.x] = pairs[N - 1 - threadIdx.x].key * 0.5f + storage.items[N - 1 - threadIdx.x] * 0.5f;
}
extern "C" int of_templates(float *x) { templated<float, 32><<<1, 32>>>(x); return cudaGetLastError(); }

// call: aligned(x=f(128), y=f(128))
// want: x = x.flip(0); y = y.flip(0)
__global__ void aligned_1(float *x) {
  __shared__ __align__(16) float s[128];
  alignas(16) __shared__ float4 t[32];
  reinterpret_cast<float4 *>(s)[threadIdx.x] = reinterpret_cast<float4 *>(x)[threadIdx.x];
  __syncthreads();
  t[threadIdx.x] = make_float4(s[127 - 4 * threadIdx.x], s[126 - 4 * threadIdx.x], s[125 - 4 * threadIdx.x], s[124 - 4 * threadIdx.x]);
  reinterpret_cast<float4 *>(x)[threadIdx.x] = t[threadIdx.x];
}
__global__ void aligned_2(float *x) {
  extern __shared__ __align__(sizeof(float4)) unsigned char raw[];
  float *keys = reinterpret_cast<float *>(raw);
  int *where = reinterpret_cast<int *>(keys + 128);
  for (int i = threadIdx.x; i < 128; i += blockDim.x) keys[i] = x[i], where[i] = 127 - i;
  __syncthreads();
  for (int i = threadIdx.x; i < 128; i += blockDim.x) x[i] = keys[where[i]];
}
extern "C" int aligned(float *x, float *y) {
  aligned_1<<<1, 32>>>(x);
  cudaFuncSetAttribute(aligned_2, cudaFuncAttributeMaxDynamicSharedMemorySize, 1024);
  aligned_2<<<1, 32, 1024>>>(y);
  return cudaGetLastError();
}

// call: tiled_matmul(a=f(32, 32), b=f(32, 32), c=zeros(32, 32), n=32)
// want: c = a @ b
// tolerance: 1e-4
#define TILE 16
template <typename T> __global__ void matmul(const T *A, const T *B, T *C, int n) {
  __shared__ T As[TILE][TILE + 1];
  __shared__ T Bs[TILE][TILE + 1];
  int tx = threadIdx.x, ty = threadIdx.y, row = blockIdx.y * TILE + ty, col = blockIdx.x * TILE + tx;
  T sum{};
  for (int m = 0; m < n / TILE; ++m) {
    As[ty][tx] = A[row * n + m * TILE + tx];
    Bs[ty][tx] = B[(m * TILE + ty) * n + col];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < TILE; ++k) sum += As[ty][k] * Bs[k][tx];
    __syncthreads();
  }
  C[row * n + col] = sum;
}
extern "C" int tiled_matmul(const float *a, const float *b, float *c, int n) {
  matmul<<<dim3(n / TILE, n / TILE), dim3(TILE, TILE)>>>(a, b, c, n);
  return cudaGetLastError();
}

// call: passed_on(x=f(64))
// want: x = x.flip(0)
__device__ void reverse_in(volatile float *s, float *x) {
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];
}
template <int ROWS> __device__ float corner(float (&tile)[ROWS][2]) { return tile[ROWS - 1][1]; }
__global__ void passes(float *x) {
  __shared__ volatile float s[64];
  __shared__ float tile[3][2];
  if (threadIdx.x == 0) tile[2][1] = 0;
  reverse_in(s, x);
  x[threadIdx.x] += corner(tile) + (sizeof(s) == 256 ? 0 : 1);
}
extern "C" int passed_on(float *x) { passes<<<1, 64>>>(x); return cudaGetLastError(); }

// call: in_the_middle(x=f(64))
// want: x = x.flip(0)
__global__ void in_scopes(float *x) {
  if (blockDim.x == 64) {
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    float mine = s[63 - threadIdx.x];
    for (int turn = 0; turn < 2; ++turn) { static __shared__ float t[64]; t[threadIdx.x] = mine; mine = t[threadIdx.x]; }
    x[threadIdx.x] = mine;
  }
}
extern "C" int in_the_middle(float *x) { in_scopes<<<1, 64>>>(x); return cudaGetLastError(); }
