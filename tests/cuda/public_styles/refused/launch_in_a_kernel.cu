// says: dynamic parallelism
__global__ void k(float *x) { x[threadIdx.x] = 1; }
__global__ void parent(float *x) {
  k<<<1, 32>>>(x);  // HERE
}
extern "C" int launcher(float *x) { return 0; }
