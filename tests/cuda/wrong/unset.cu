// Local variables that are used before they are set, and that the results depend on.

// expect: unset_variable
// call: sum_without_a_start(randn(16), zeros(4), 16)
__global__ void no_start_kernel(const float* x, float* y, int n) {
  float sum;
  for (int i = threadIdx.x; i < n; i += 4) sum += x[i];
  y[threadIdx.x] = sum;  // HERE
}
extern "C" int sum_without_a_start(const float* x, float* y, int n) {
  no_start_kernel<<<1, 4>>>(x, y, n);
  return cudaGetLastError();
}

// expect: unset_variable
// call: set_on_one_path(ints(8, 5), zeros_i(8))
__device__ int graded(int v) {
  int grade;
  if (v > 3) grade = 1;
  else if (v > 1) grade = 2;
  return grade;  // HERE
}
__global__ void graded_kernel(const int* x, int* y) { y[threadIdx.x] = graded(x[threadIdx.x]); }
extern "C" int set_on_one_path(const int* x, int* y) {
  graded_kernel<<<1, 8>>>(x, y);
  return cudaGetLastError();
}
