// says: kernel k calls rand(), which is a function of the host
#include <cstdlib>
__global__ void k(float *x) {
  x[threadIdx.x] = rand() % 7;  // HERE
}
extern "C" int launcher(float *x) { return 0; }
