// The emulated bodies of yaie_ptx.cuh. A cp.async lands only at its wait, so that a forgotten wait shows.
#pragma once
#include "yaie_emulator.h"

namespace yaie {

static inline void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const float (&c)[4],
                                    EMU_SITE) {
  emu_mma_m16n8k16(emu::kMatrixHalf, d, a, b, c, site);
}
static inline void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                     const float (&c)[4], EMU_SITE) {
  emu_mma_m16n8k16(emu::kMatrixBfloat16, d, a, b, c, site);
}

// Always inlined, so that the accesses are counted on the caller's line.
#define EMU_LDMATRIX(name, count, transposed)                                          \
  static EMU_INLINE void name(uint32_t (&r)[count], const void* row, EMU_SITE) {  \
    emu_ldmatrix(r, row, count, transposed, site);                                     \
  }
EMU_LDMATRIX(ldmatrix_x1, 1, false)
EMU_LDMATRIX(ldmatrix_x2, 2, false)
EMU_LDMATRIX(ldmatrix_x4, 4, false)
EMU_LDMATRIX(ldmatrix_x1_trans, 1, true)
EMU_LDMATRIX(ldmatrix_x2_trans, 2, true)
EMU_LDMATRIX(ldmatrix_x4_trans, 4, true)

static EMU_INLINE void cp_async_4(void* shared, const void* global, int source_bytes = 4) {
  emu_cp_async(shared, global, 4, static_cast<unsigned>(source_bytes));
}
static EMU_INLINE void cp_async_8(void* shared, const void* global, int source_bytes = 8) {
  emu_cp_async(shared, global, 8, static_cast<unsigned>(source_bytes));
}
static EMU_INLINE void cp_async_16(void* shared, const void* global, int source_bytes = 16) {
  emu_cp_async(shared, global, 16, static_cast<unsigned>(source_bytes));
}
static inline void cp_async_commit() { emu_cp_async_commit(); }
template <int groups_left>
static inline void cp_async_wait() { emu_cp_async_wait(groups_left); }
static inline float fast_exp2(float x) { return x < -126.0f ? 0.0f : exp2f(x); }

}  // namespace yaie
