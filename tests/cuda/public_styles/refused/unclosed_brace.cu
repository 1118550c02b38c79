// says: this { is never closed
__global__ void k(float *x) {  // HERE
  if (threadIdx.x == 0) {
  x[0] = 1;
}
