// says: `thread_local`: a variable of device code cannot be thread_local
__global__ void k(float *x) {
  thread_local int n;  // HERE
  x[0] = n = 1;
}
extern "C" int launcher(float *x) { return 0; }
