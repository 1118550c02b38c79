// says: `try`: device code has no exceptions
__host__ __device__ float f(float x) {
  try {  // HERE
    return x + 1;
  } catch (...) {
    return 0;
  }
}
extern "C" int launcher(float *x) { return 0; }
