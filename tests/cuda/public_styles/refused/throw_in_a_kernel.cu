// says: `throw`: device code has no exceptions
__global__ void k(float *x) {
  if (x[0] < 0) throw 1;  // HERE
}
extern "C" int launcher(float *x) { return 0; }
