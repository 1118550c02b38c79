// says: a __shared__ variable has no initial value
__global__ void k(float *x) {
  __shared__ float s = 2.0f;  // HERE
  x[threadIdx.x] = s;
}
extern "C" int launcher(float *x) { return 0; }
