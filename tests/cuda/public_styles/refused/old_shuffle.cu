// says: __shfl_down(), now __shfl_down_sync
__global__ void k(float *x) {
  x[threadIdx.x] += __shfl_down(x[threadIdx.x], 1);  // HERE
}
extern "C" int launcher(float *x) { return 0; }
