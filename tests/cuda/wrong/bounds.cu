// Accesses outside an array, or at an address that does not fit the type.

// expect: out_of_bounds x
// call: stencil(randn(1000), zeros(1000), 1000)
__global__ void stencil_kernel(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = 0.5f * (x[i] + x[i + 1]);  // HERE
}
extern "C" int stencil(const float* x, float* y, int n) {
  stencil_kernel<<<(n + 127) / 128, 128>>>(x, y, n);
  return cudaGetLastError();
}

// expect: out_of_bounds y
// call: no_guard(randn(1000), zeros(1000))
__global__ void no_guard_kernel(const float* x, float* y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  y[i] = i < 1000 ? x[i] : 0.0f;  // HERE
}
extern "C" int no_guard(const float* x, float* y) {
  no_guard_kernel<<<4, 256>>>(x, y);
  return cudaGetLastError();
}

// expect: out_of_bounds x
// call: before_the_start(randn(100), zeros(100))
__global__ void before_kernel(const float* x, float* y) {
  int i = threadIdx.x;
  y[i] = x[i] - x[i - 1];  // HERE
}
extern "C" int before_the_start(const float* x, float* y) {
  before_kernel<<<1, 100>>>(x, y);
  return cudaGetLastError();
}

// expect: out_of_bounds query
// call: guard_on_the_wrong_length(randn(3, 8), zeros(3, 8), 5)
// Guards on context_len where the rows are query_len.
__global__ void wrong_length_kernel(const float* query, float* out, int context_len) {
  int row = threadIdx.x;
  if (row < context_len) {
    for (int d = 0; d < 8; ++d) out[row * 8 + d] = query[row * 8 + d];  // HERE
  }
}
extern "C" int guard_on_the_wrong_length(const float* query, float* out, int context_len) {
  wrong_length_kernel<<<1, 32>>>(query, out, context_len);
  return cudaGetLastError();
}

// expect: out_of_bounds tile
// call: shared_overrun(randn(64), zeros(64))
__global__ void shared_overrun_kernel(const float* x, float* y) {
  __shared__ float tile[64];
  __shared__ float after[64];
  after[threadIdx.x] = 0.0f;
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x + 1] + after[threadIdx.x];  // HERE
}
extern "C" int shared_overrun(const float* x, float* y) {
  shared_overrun_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// expect: out_of_bounds smem
// call: too_little_dynamic_shared(randn(64), zeros(64))
__global__ void dynamic_kernel(const float* x, float* y) {
  extern __shared__ float smem[];
  smem[threadIdx.x] = x[threadIdx.x];  // HERE
  __syncthreads();
  y[threadIdx.x] = smem[63 - threadIdx.x];
}
extern "C" int too_little_dynamic_shared(const float* x, float* y) {
  dynamic_kernel<<<1, 64, 64>>>(x, y);  // bytes, not elements
  return cudaGetLastError();
}

// expect: out_of_bounds smem
// call: no_dynamic_shared(zeros(64))
__global__ void no_dynamic_kernel(float* y) {
  extern __shared__ float smem[];
  smem[threadIdx.x] = 1.0f;  // HERE
  y[threadIdx.x] = smem[threadIdx.x];
}
extern "C" int no_dynamic_shared(float* y) {
  no_dynamic_kernel<<<1, 64>>>(y);
  return cudaGetLastError();
}

// expect: out_of_bounds table
// call: bad_page(zeros_i(4), randn(64), zeros(8), 9)
// A page number is read from past the end of the table.
__global__ void bad_page_kernel(const int* table, const float* pages, float* y, int page) {
  int p = table[page];  // HERE
  y[threadIdx.x] = pages[p * 8 + threadIdx.x];
}
extern "C" int bad_page(const int* table, const float* pages, float* y, int page) {
  bad_page_kernel<<<1, 8>>>(table, pages, y, page);
  return cudaGetLastError();
}

// expect: out_of_bounds
// call: null_pointer(None, zeros(8))
__global__ void null_kernel(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x];  // HERE
}
extern "C" int null_pointer(const float* x, float* y) {
  null_kernel<<<1, 8>>>(x, y);
  return cudaGetLastError();
}

// expect: out_of_bounds y
// call: atomic_overrun(zeros_i(8))
__global__ void atomic_overrun_kernel(int* y) {
  atomicAdd(&y[threadIdx.x], 1);  // HERE
}
extern "C" int atomic_overrun(int* y) {
  atomic_overrun_kernel<<<1, 9>>>(y);
  return cudaGetLastError();
}

// expect: out_of_bounds x
// call: vector_tail(randn(30), zeros(30))
// 30 floats are seven float4 and a half.
__global__ void vector_tail_kernel(const float* x, float* y) {
  const float4* wide = reinterpret_cast<const float4*>(x);
  float4 v = wide[threadIdx.x];  // HERE
  y[threadIdx.x] = v.x + v.y + v.z + v.w;
}
extern "C" int vector_tail(const float* x, float* y) {
  vector_tail_kernel<<<1, 8>>>(x, y);
  return cudaGetLastError();
}

// expect: misaligned x
// call: odd_float4(randn(40), zeros(40))
__global__ void odd_float4_kernel(const float* x, float* y) {
  float4 v = *reinterpret_cast<const float4*>(x + 1 + 4 * threadIdx.x);  // HERE
  y[threadIdx.x] = v.x + v.y + v.z + v.w;
}
extern "C" int odd_float4(const float* x, float* y) {
  odd_float4_kernel<<<1, 8>>>(x, y);
  return cudaGetLastError();
}

// expect: misaligned tile
// call: odd_shared_row(randn(66), zeros(8))
// Rows of 33 floats do not begin at multiples of 8 bytes.
__global__ void odd_row_kernel(const float* x, float* y) {
  __shared__ float tile[2][33];
  for (int i = threadIdx.x; i < 66; i += 8) tile[i / 33][i % 33] = x[i];
  __syncthreads();
  float2 v = *reinterpret_cast<float2*>(&tile[1][2 * threadIdx.x]);  // HERE
  y[threadIdx.x] = v.x + v.y;
}
extern "C" int odd_shared_row(const float* x, float* y) {
  odd_row_kernel<<<1, 8>>>(x, y);
  return cudaGetLastError();
}

// expect: const_write x
// call: cast_away_const(randn(8))
__global__ void cast_kernel(const float* x) {
  const_cast<float*>(x)[threadIdx.x] = 0.0f;  // HERE
}
extern "C" int cast_away_const(const float* x) {
  cast_kernel<<<1, 8>>>(x);
  return cudaGetLastError();
}

// expect: uninitialised tile
// call: short_fill(randn(64), zeros(64))
__global__ void short_fill_kernel(const float* x, float* y) {
  __shared__ float tile[64];
  if (threadIdx.x < 63) tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x];  // HERE
}
extern "C" int short_fill(const float* x, float* y) {
  short_fill_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// expect: uninitialised sum
// call: sum_not_zeroed(randn(64), zeros(1))
__global__ void not_zeroed_kernel(const float* x, float* y) {
  __shared__ float sum[1];
  if (threadIdx.x == 0) {
    for (int i = 0; i < 64; ++i) sum[0] += x[i];  // HERE
    y[0] = sum[0];
  }
}
extern "C" int sum_not_zeroed(const float* x, float* y) {
  not_zeroed_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}
