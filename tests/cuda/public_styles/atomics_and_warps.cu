// Atomics of every type, warp functions, votes, and reductions as everybody writes them.
#include <cfloat>
#include <climits>
#include <stdint.h>

// call: histogram(x=ints(1000, 16), bins=zeros_i(16), n=1000)
// want: bins = torch.bincount(x, minlength=16).int()
__global__ void histogram_kernel(const int *x, int *bins, int n) {
  __shared__ int local[16];
  if (threadIdx.x < 16) local[threadIdx.x] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&local[x[i]], 1);
  __syncthreads();
  if (threadIdx.x < 16) atomicAdd(bins + threadIdx.x, local[threadIdx.x]);
}
extern "C" int histogram(const int *x, int *bins, int n) { histogram_kernel<<<3, 64>>>(x, bins, n); return cudaGetLastError(); }

// call: integers(out=torch.tensor([0, 5, 100, 0, 255, 0, 3, 0, 7], dtype=torch.int32))
// want: out = i([64, 64, 0, 63, 32, 63, 63, 99, 7])
__global__ void integer_atomics(int *o) {
  int t = threadIdx.x;
  atomicAdd(&o[0], 1);
  atomicMax(&o[1], t + 1);
  atomicMin(&o[2], t);
  atomicOr((unsigned *)&o[3], (unsigned)t);
  atomicAnd(&o[4], 32);
  atomicXor(&o[5], t == 63 ? 63 : 0);
  atomicExch(&o[6], 63);
  if (t == 0) atomicCAS(&o[7], 0, 99);
  atomicInc((unsigned *)&o[8], 7);
}
extern "C" int integers(int *out) { integer_atomics<<<1, 64>>>(out); return cudaGetLastError(); }

// call: wide(d=zeros_d(1), u=torch.zeros(3, dtype=torch.int64))
// want: d = torch.tensor([64.0], dtype=torch.float64); u = torch.tensor([64, 63, -7])
__global__ void wide_atomics(double *d, unsigned long long *u) {
  atomicAdd(d, 1.0);
  atomicAdd(&u[0], 1ULL);
  atomicMax(&u[1], (unsigned long long)threadIdx.x);
  if (threadIdx.x == 0) atomicExch(&u[2], (unsigned long long)(-7LL));
}
extern "C" int wide(double *d, unsigned long long *u) { wide_atomics<<<1, 64>>>(d, u); return cudaGetLastError(); }

// call: float_max(x=f(256), out=torch.tensor([-1e30]))
// want: out = x.max()[None]
__device__ __forceinline__ float atomicMaxFloat(float *address, float value) {
  int *as_int = (int *)address;
  int old = *as_int, assumed;
  do {
    assumed = old;
    old = atomicCAS(as_int, assumed, __float_as_int(fmaxf(value, __int_as_float(assumed))));
  } while (assumed != old);
  return __int_as_float(old);
}
__global__ void max_kernel(const float *x, float *out) {
  float v = x[blockIdx.x * blockDim.x + threadIdx.x];
  for (int offset = warpSize / 2; offset > 0; offset >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffff, v, offset));
  if ((threadIdx.x & 31) == 0) atomicMaxFloat(out, v);
}
extern "C" int float_max(const float *x, float *out) { max_kernel<<<2, 128>>>(x, out); return cudaGetLastError(); }

// call: block_sum(x=f(300), out=zeros(1), n=300)
// want: out = x.sum()[None]
// tolerance: 1e-4
__inline__ __device__ float warpReduceSum(float val) {
  for (int offset = 16; offset > 0; offset /= 2) val += __shfl_down_sync(0xffffffff, val, offset);
  return val;
}
__inline__ __device__ float blockReduceSum(float val) {
  static __shared__ float shared[32];
  int lane = threadIdx.x % warpSize, wid = threadIdx.x / warpSize;
  val = warpReduceSum(val);
  if (lane == 0) shared[wid] = val;
  __syncthreads();
  val = (threadIdx.x < blockDim.x / warpSize) ? shared[lane] : 0;
  if (wid == 0) val = warpReduceSum(val);
  return val;
}
__global__ void deviceReduce(const float *in, float *out, int n) {
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) sum += in[i];
  sum = blockReduceSum(sum);
  if (threadIdx.x == 0) atomicAdd(out, sum);
}
extern "C" int block_sum(const float *x, float *out, int n) { deviceReduce<<<2, 128>>>(x, out, n); return cudaGetLastError(); }

// call: scan(x=ints(32, 9), y=zeros_i(32))
// want: y = x.cumsum(0).int()
__global__ void warp_scan(const int *x, int *y) {
  int lane = threadIdx.x & 0x1f, value = x[lane];
#pragma unroll
  for (int d = 1; d < 32; d <<= 1) {
    int n = __shfl_up_sync(0xffffffffu, value, d, 32);
    if (lane >= d) value += n;
  }
  y[lane] = value;
}
extern "C" int scan(const int *x, int *y) { warp_scan<<<1, 32>>>(x, y); return cudaGetLastError(); }

// call: votes(x=ints(32, 9), out=zeros_i(7))
// want: out = torch.stack([(x > 4).sum(), (x > 4).any(), (x > 4).all(), torch.tensor(32), x.sum(), x.max(), x[3]]).int()
__global__ void vote_kernel(const int *x, int *out) {
  int v = x[threadIdx.x];
  unsigned ballot = __ballot_sync(~0u, v > 4);
  int any = __any_sync(~0u, v > 4), all = __all_sync(~0u, v > 4);
  unsigned active = __activemask();
  int sum = __reduce_add_sync(~0u, v), top = __reduce_max_sync(~0u, v);
  int third = __shfl_sync(0xffffffff, v, 3);
  if (threadIdx.x == 0) {
    out[0] = __popc(ballot), out[1] = any != 0, out[2] = all != 0, out[3] = __popc(active);
    out[4] = sum, out[5] = top, out[6] = third;
  }
}
extern "C" int votes(const int *x, int *out) { vote_kernel<<<1, 32>>>(x, out); return cudaGetLastError(); }

// call: aggregated(x=ints(256, 4), out=zeros_i(1))
// want: out = (x == 2).sum().int()[None]
__global__ void count_twos(const int *x, int *out) {
  if (x[threadIdx.x] == 2) {
    unsigned active = __activemask();
    int leader = __ffs(active) - 1;
    if ((threadIdx.x & 31) == leader) atomicAdd(out, __popc(active));
  }
}
extern "C" int aggregated(const int *x, int *out) { count_twos<<<1, 256>>>(x, out); return cudaGetLastError(); }

// call: barriers_that_count(x=ints(64, 9), out=zeros_i(3))
// want: out = torch.stack([(x > 4).sum(), (x >= 0).all(), (x > 99).any()]).int()
__global__ void counting(const int *x, int *out) {
  int v = x[threadIdx.x], n = __syncthreads_count(v > 4), all = __syncthreads_and(v >= 0), any = __syncthreads_or(v > 99);
  if (threadIdx.x == 0) out[0] = n, out[1] = all != 0, out[2] = any != 0;
}
extern "C" int barriers_that_count(const int *x, int *out) { counting<<<1, 64>>>(x, out); return cudaGetLastError(); }

// call: shuffle_types(d=torch.arange(32).double(), l=torch.arange(32))
// want: d = torch.arange(32).double().flip(0); l = torch.arange(32).flip(0)
__global__ void shuffles(double *d, long long *l) {
  int t = threadIdx.x;
  d[t] = __shfl_xor_sync(0xffffffff, d[t], 31);
  l[t] = __shfl_sync(0xffffffff, l[t], 31 - t);
}
extern "C" int shuffle_types(double *d, long long *l) { shuffles<<<1, 32>>>(d, l); return cudaGetLastError(); }

// call: matches(x=ints(32, 4), out=zeros_i(32))
// want: out = (x[:, None] == x[None, :]).sum(1).int()
__global__ void matching(const int *x, int *out) { out[threadIdx.x] = __popc(__match_any_sync(0xffffffff, x[threadIdx.x])); }
extern "C" int matches(const int *x, int *out) { matching<<<1, 32>>>(x, out); return cudaGetLastError(); }

// call: bits(x=i([1, -1, 8, 1 << 30]), out=torch.zeros(20, dtype=torch.int64))
// want: out = torch.tensor([-(1 << 31), 1, 1, 31, -1, 32, 1, 0, 0x10000000, 1, 4, 28, 2, 1, 31, 1, 1, 0, 7, 9])
__global__ void bit_kernel(const int *x, long long *out) {
  int t = threadIdx.x, v = x[t];
  out[4 * t] = (int)__brev(v);
  out[4 * t + 1] = __popc(v);
  out[4 * t + 2] = __ffs(v);
  out[4 * t + 3] = __clz(v);
  if (t == 0) {
    out[16] = (long long)(__brevll(1ULL) >> 63);
    out[17] = __clzll(-1LL);
    out[18] = umin(7u, 9u);
    out[19] = max(min(9, 12), INT_MIN);
  }
}
extern "C" int bits(const int *x, long long *out) { bit_kernel<<<1, 4>>>(x, out); return cudaGetLastError(); }
