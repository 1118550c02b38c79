// says: kernel k must return void (has int)
__global__ int k(float *x) {  // HERE
  return 1;
}
extern "C" int launcher(float *x) { return 0; }
