// says: ambiguous
__global__ void k(float *x, long n) {
  x[threadIdx.x] = min(n, 3);  // HERE
}
extern "C" int launcher(float *x) { return 0; }
