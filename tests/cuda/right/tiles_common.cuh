// A header of the learner's own, which is rewritten with the file that includes it.
constexpr int kTile = 32;
__host__ __device__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }
