// says: `float & by` is a reference
// nvcc 13 takes it without a word, though its guide forbids it: the kernel would follow an address of the host.
__global__ void k(float *x,
                  float & by) {  // HERE
  x[threadIdx.x] *= by;
}
extern "C" int launcher(float *x) { return 0; }
