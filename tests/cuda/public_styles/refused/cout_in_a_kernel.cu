// says: std::cout is of the host
#include <iostream>
__global__ void k(float *x) {
  std::cout << x[threadIdx.x];  // HERE
}
extern "C" int launcher(float *x) { return 0; }
