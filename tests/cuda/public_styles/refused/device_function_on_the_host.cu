// says: host function run calls doubled(), which is a __device__ function
__device__ float doubled(float v) { return 2 * v; }
__global__ void k(float *x) { x[threadIdx.x] = doubled(x[threadIdx.x]); }
static float run() {
  return doubled(1.0f);  // HERE
}
extern "C" int launcher(float *x) { return 0; }
