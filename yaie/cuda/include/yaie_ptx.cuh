// Tensor-core and asynchronous-copy instructions as functions, so that one .cu file runs on a card and in the emulator.
// Layouts are those of the PTX ISA (mma.m16n8k16, ldmatrix, cp.async); the emulator refuses other inline PTX.
//
//   mma_m16n8k16_f16 / _bf16 (d, a, b, c)   D[16x8] = A[16x16, row] * B[16x8, col] + C, fp32 accumulators.
//   ldmatrix_x1 / _x2 / _x4 [_trans] (r, p) 8x8 matrices of 16-bit elements from shared memory; lane 8m+i gives the
//                                           address of row i of matrix m, 16-byte aligned.
//   cp_async_4 / _8 / _16 (shared, global, source_bytes)  copies without registers; bytes beyond source_bytes are zero.
//   cp_async_commit(); cp_async_wait<n>()   closes a group; waits until at most n groups of this thread are in flight.
//   fast_exp2 (x)                           2 to the power x: one instruction, relative error 2^-22; below 2^-126 it is 0.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#if defined(YAIE_EMULATOR)
#include "emulated_ptx.h"
#else
namespace yaie {

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

#define YAIE_MMA(name, type)                                                                                      \
  __device__ __forceinline__ void name(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],             \
                                       const float (&c)[4]) {                                                     \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 "                                   \
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"                                      \
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                                 \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]),         \
                   "f"(c[2]), "f"(c[3]));                                                                         \
  }
YAIE_MMA(mma_m16n8k16_f16, "f16")
YAIE_MMA(mma_m16n8k16_bf16, "bf16")
#undef YAIE_MMA

#define YAIE_LDMATRIX_1(name, options)                                                                            \
  __device__ __forceinline__ void name(uint32_t (&r)[1], const void* row) {                                       \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" options ".shared.b16 {%0}, [%1];"                                \
                 : "=r"(r[0]) : "r"(shared_address(row)) : "memory");                                             \
  }
#define YAIE_LDMATRIX_2(name, options)                                                                            \
  __device__ __forceinline__ void name(uint32_t (&r)[2], const void* row) {                                       \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" options ".shared.b16 {%0,%1}, [%2];"                             \
                 : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");                                 \
  }
#define YAIE_LDMATRIX_4(name, options)                                                                            \
  __device__ __forceinline__ void name(uint32_t (&r)[4], const void* row) {                                       \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" options ".shared.b16 {%0,%1,%2,%3}, [%4];"                       \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");         \
  }
YAIE_LDMATRIX_1(ldmatrix_x1, "")
YAIE_LDMATRIX_2(ldmatrix_x2, "")
YAIE_LDMATRIX_4(ldmatrix_x4, "")
YAIE_LDMATRIX_1(ldmatrix_x1_trans, ".trans")
YAIE_LDMATRIX_2(ldmatrix_x2_trans, ".trans")
YAIE_LDMATRIX_4(ldmatrix_x4_trans, ".trans")
#undef YAIE_LDMATRIX_1
#undef YAIE_LDMATRIX_2
#undef YAIE_LDMATRIX_4

__device__ __forceinline__ void cp_async_4(void* shared, const void* global, int source_bytes = 4) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
               ::"r"(shared_address(shared)), "l"(global), "r"(source_bytes) : "memory");
}
__device__ __forceinline__ void cp_async_8(void* shared, const void* global, int source_bytes = 8) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;"
               ::"r"(shared_address(shared)), "l"(global), "r"(source_bytes) : "memory");
}
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, int source_bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               ::"r"(shared_address(shared)), "l"(global), "r"(source_bytes) : "memory");
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int groups_left>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(groups_left) : "memory");
}
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace yaie
#endif
