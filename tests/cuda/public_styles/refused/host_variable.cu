// says: `scale` is a variable of the host
float scale = 2.0f;
__global__ void k(float *x) {
  x[threadIdx.x] *= scale;  // HERE
}
extern "C" int launcher(float *x) { return 0; }
