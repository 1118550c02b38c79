// says: is a reference to a value of the host
__global__ void k(float *x, int &&n) { x[0] = n; }  // HERE
extern "C" int launcher(float *x) { return 0; }
