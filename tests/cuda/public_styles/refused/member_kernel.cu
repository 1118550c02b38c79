// says: kernel k: a member function cannot be a kernel
struct S {
  static __global__ void k(float *x) { x[threadIdx.x] = 1; }  // HERE
};
extern "C" int launcher(float *x) { return 0; }
