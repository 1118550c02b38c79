// says: `dynamic_cast`: device code has no types at run time
struct A { __device__ virtual int f() { return 1; } };
struct B : A {};
__device__ bool is_b(A *a) { return dynamic_cast<B *>(a) != nullptr; }  // HERE
extern "C" int launcher(float *x) { return 0; }
