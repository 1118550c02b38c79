// says: a launch needs a grid and a block
__global__ void k(float *x) { x[threadIdx.x] = 1; }
void run(float *x) {
  k<<<>>>(x);  // HERE
}
extern "C" int launcher(float *x) { return 0; }
