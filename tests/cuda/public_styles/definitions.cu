// Every way in which people declare kernels and device functions.
#include "definitions_common.cuh"

#define KERNEL extern "C" __global__ void
#define DEFINE_UNARY(name, expression)                       \
  __global__ void name##_kernel(float* x, int n) {           \
    int i = blockIdx.x * blockDim.x + threadIdx.x;           \
    if (i < n) {                                             \
      float v = x[i];                                        \
      x[i] = expression;                                     \
    }                                                        \
  }                                                          \
  extern "C" int unary_##name(float* x, int n);              \
  int unary_##name(float* x, int n) {                        \
    name##_kernel<<<(n + 31) / 32, 32>>>(x, n);              \
    return cudaGetLastError();                               \
  }
#define KERNEL_LOOP(i, n) for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += blockDim.x * gridDim.x)
#define HEAD(name) __global__ void name(float *x, int n)

DEFINE_UNARY(square, v * v)
DEFINE_UNARY(relu, v > 0 ? v : 0.f)

// call: run_unary(x=f(40), y=f(40), n=40)
// want: x = x ** 2; y = F.relu(y)
extern "C" int run_unary(float* x, float* y, int n) { return unary_square(x, n) || unary_relu(y, n); }

// call: exported(x=f(33), n=33)
// want: x = x + 1
KERNEL exported_kernel(float *x, int n) { KERNEL_LOOP(i, n) x[i] += 1; }
extern "C" int exported(float *x, int n) {
  exported_kernel<<<2, 8>>>(x, n);
  return cudaGetLastError();
}

// call: head_in_a_macro(x=f(33), n=33)
// want: x = 3 * x
HEAD(tripled) { KERNEL_LOOP(i, n) x[i] *= 3; }
extern "C" int head_in_a_macro(float *x, int n) {
  tripled<<<2, 8>>>(x, n);
  return cudaGetLastError();
}

// call: qualifiers(x=f(64), y=f(64))
// want: x = x + y
static __global__ void __launch_bounds__(64, 2) qualified(float *__restrict__ x, const float *__restrict__ const y) {
  x[threadIdx.x] += __ldg(&y[threadIdx.x]);
}
__global__ static void forward(float *, const float *);
void __global__ forward(float *x, const float *y) { x[threadIdx.x] -= y[threadIdx.x]; }
__launch_bounds__(64) __global__ void back(float *x, const float *y) { x[threadIdx.x] += y[threadIdx.x]; }
extern "C" int qualifiers(float *x, const float *y) {
  qualified<<<1, 64>>>(x, y);
  forward<<<1, 64>>>(x, y);
  back<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// call: unnamed_parameters(x=f(32))
// want: x = (x + 1) + 1
__global__ void ignores(float *x, int, const float *, unsigned = 3) { x[threadIdx.x] += 1; }
extern "C" int unnamed_parameters(float *x) {
  ignores<<<1, 32>>>(x, 1, nullptr);
  ignores<<<1, 32>>>(x, 1, x, 4u);
  return cudaGetLastError();
}

// call: own_copies(x=zeros_i(32), n=5)
// want: x = 5 * torch.ones(32, dtype=torch.int32)
__global__ void counts_down(int *x, int n) {
  int i = threadIdx.x;
  while (n-- > 0) x[i]++;
}
extern "C" int own_copies(int *x, int n) {
  counts_down<<<1, 32>>>(x, n);
  return cudaGetLastError();
}

// call: arrays_and_structs(x=f(4))
// want: x = x * 2 + torch.tensor([1.0, 2.0, 3.0, 4.0])
struct Transform { float by; float offset[4]; __host__ __device__ float operator()(float v, int i) const { return v * by + offset[i]; } };
__global__ void transform(float x[], const Transform t) { x[threadIdx.x] = t(x[threadIdx.x], threadIdx.x); }
extern "C" int arrays_and_structs(float *x) {
  transform<<<1, 4>>>(x, Transform{2.0f, {1, 2, 3, 4}});
  return cudaGetLastError();
}

// call: functors(x=f(32), y=f(32))
// want: x = torch.maximum(x, y) + y
struct Max { __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); } };
struct Plus { template <class T> __device__ static T apply(T a, T b) { return a + b; } };
template <typename Op> __global__ void binary(float *x, const float *y, Op op) {
  x[threadIdx.x] = Plus::apply(op(x[threadIdx.x], y[threadIdx.x]), y[threadIdx.x]);
}
extern "C" int functors(float *x, const float *y) {
  binary<<<1, 32>>>(x, y, Max());
  return cudaGetLastError();
}

// call: device_lambdas(x=f(32))
// want: x = 3 * x + 1
template <typename F> __global__ void apply_to_each(float *x, F f) { x[threadIdx.x] = f(x[threadIdx.x]); }
extern "C" int device_lambdas(float *x) {
  float by = 3;
  apply_to_each<<<1, 32>>>(x, [=] __device__(float v) { return v * by; });
  auto plus = [] __host__ __device__(float v) -> float { return v + 1; };
  apply_to_each<<<1, 32>>>(x, plus);
  return plus(1) == 2 ? cudaGetLastError() : cudaErrorInvalidValue;
}

// call: packs(x=f(32), y=f(32), z=zeros(32))
// want: z = x + y + x
template <typename... Inputs> __global__ void sum_of(float *out, const Inputs *...inputs) {
  out[threadIdx.x] = (inputs[threadIdx.x] + ...);
}
extern "C" int packs(const float *x, const float *y, float *z) {
  sum_of<<<1, 32>>>(z, x, y, x);
  return cudaGetLastError();
}

// call: specialised(x=f(32), n=zeros_i(32))
// want: x = x + 1; n = n + 2
template <typename T> __global__ void bump(T *x);
template <> __global__ void bump<float>(float *x) { x[threadIdx.x] += 1; }
template <> __global__ void bump(int *x) { x[threadIdx.x] += 2; }
extern "C" int specialised(float *x, int *n) {
  bump<<<1, 32>>>(x);
  bump<int><<<1, 32>>>(n);
  return cudaGetLastError();
}

// call: function_pointers(x=f(32))
// want: x = -x
typedef float (*unary_t)(float);
__device__ float flip(float v) { return -v; }
__device__ float keep(float v) { return v; }
__global__ void by_pointer(float *x, int which) {
  unary_t table[] = {keep, flip};
  float (*chosen)(float) = table[which];
  x[threadIdx.x] = chosen(x[threadIdx.x]);
}
extern "C" int function_pointers(float *x) {
  by_pointer<<<1, 32>>>(x, 1);
  return cudaGetLastError();
}

// call: in_a_class(x=f(32))
// want: x = 5 * x
__global__ void scaler_kernel(float *x, float by) { x[threadIdx.x] *= by; }
class Scaler {
 public:
  explicit Scaler(float by) : by_{by} {}
  void run(float *x) const { scaler_kernel<<<1, 32>>>(x, by_); }
 private:
  float by_;
};
extern "C" int in_a_class(float *x) {
  Scaler(5).run(x);
  return cudaGetLastError();
}

// call: keywords(in=f(8), lambda=2.0, is=zeros(8), from=1.0)
// want: is = in_ * 2 + 1
__global__ void keyword_kernel(const float *in, float lambda, float *is, float from) {
  is[threadIdx.x] = in[threadIdx.x] * lambda + from;
}
extern "C" int keywords(const float *in, float lambda, float *is, float from) {
  keyword_kernel<<<1, 8>>>(in, lambda, is, from);
  return cudaGetLastError();
}

// call: from_a_header(x=f(8))
// want: x = x + 10
extern "C" int from_a_header(float *x) { return launch_common(x); }

// call: grid_constant(x=f(4))
// want: x = x + 7
struct Big { int pad[64]; float value; };
__global__ void reads_big(float *x, const __grid_constant__ Big big) { x[threadIdx.x] += big.value; }
extern "C" int grid_constant(float *x) {
  Big big = {};
  big.value = 7;
  reads_big<<<1, 4>>>(x, big);
  return cudaGetLastError();
}
