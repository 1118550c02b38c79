// says: __device__ function twice calls helper(), which is a function of the host
static inline float helper(float v) { return 2 * v; }
__device__ float twice(float v) {
  return helper(v);  // HERE
}
__global__ void k(float *x) { x[threadIdx.x] = twice(x[threadIdx.x]); }
extern "C" int launcher(float *x) { return 0; }
