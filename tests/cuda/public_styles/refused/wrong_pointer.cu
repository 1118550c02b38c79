// says: float
__global__ void k(float *x) { x[threadIdx.x] = 1; }
void run(double *x) {
  k<<<1, 32>>>(x);  // HERE
}
extern "C" int launcher(float *x) { return 0; }
