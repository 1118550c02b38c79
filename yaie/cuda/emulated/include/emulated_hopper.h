// The emulated bodies of yaie_hopper.cuh. What is asynchronous happens as late as the rules allow: a load of TMA at the
// wait for its barrier, a store at its wait, a wgmma at its wait, so that what is forgotten shows.
#pragma once
#include <cuda.h>

#include "yaie_emulator.h"

namespace yaie {

// Tells the runtime, when it loads this file's library, that order between threads is more than __syncthreads() here.
static const int uses_hopper = emu_note_hopper(&uses_hopper);

static EMU_INLINE void mbarrier_init(uint64_t* barrier, unsigned arrivals, EMU_SITE) {
  emu_mbarrier_init(barrier, arrivals, site);
}
static EMU_INLINE void fence_mbarrier_init() { emu_fence_mbarrier_init(); }
static EMU_INLINE void mbarrier_arrive(uint64_t* barrier, EMU_SITE) { emu_mbarrier_arrive(barrier, 0, site); }
static EMU_INLINE void mbarrier_arrive_expect_tx(uint64_t* barrier, unsigned bytes, EMU_SITE) {
  emu_mbarrier_arrive(barrier, bytes, site);
}
static EMU_INLINE void mbarrier_wait(uint64_t* barrier, unsigned parity, EMU_SITE) { emu_mbarrier_wait(barrier, parity, site); }
static EMU_INLINE void mbarrier_expect_cp_async(uint64_t* barrier, EMU_SITE) { emu_mbarrier_expect_cp_async(barrier, site); }
static EMU_INLINE void named_barrier_sync(int id, int threads, EMU_SITE) { emu_named_barrier(id, threads, true, site); }
static EMU_INLINE void named_barrier_arrive(int id, int threads, EMU_SITE) { emu_named_barrier(id, threads, false, site); }
template <int registers>
static EMU_INLINE void setmaxnreg_inc(EMU_SITE) { emu_setmaxnreg(registers, true, site); }
template <int registers>
static EMU_INLINE void setmaxnreg_dec(EMU_SITE) { emu_setmaxnreg(registers, false, site); }
static EMU_INLINE void fence_proxy_async() { emu_fence_proxy_async(); }

static EMU_INLINE void tma_prefetch_map(const CUtensorMap*) {}

// Always inlined, so that the accesses are counted on the caller's line.
#define EMU_TMA(rank, parameters, ...)                                                                                    \
  static EMU_INLINE void tma_load(void* shared, const CUtensorMap* map, uint64_t* barrier, parameters, EMU_SITE) {       \
    const int at[] = {__VA_ARGS__};                                                                                       \
    emu_tma_load(shared, map, barrier, at, rank, site);                                                                   \
  }                                                                                                                       \
  static EMU_INLINE void tma_store(const CUtensorMap* map, const void* shared, parameters, EMU_SITE) {                   \
    const int at[] = {__VA_ARGS__};                                                                                       \
    emu_tma_store(map, shared, at, rank, site);                                                                           \
  }
#define EMU_COMMA ,
EMU_TMA(1, int c0, c0)
EMU_TMA(2, int c0 EMU_COMMA int c1, c0, c1)
EMU_TMA(3, int c0 EMU_COMMA int c1 EMU_COMMA int c2, c0, c1, c2)
EMU_TMA(4, int c0 EMU_COMMA int c1 EMU_COMMA int c2 EMU_COMMA int c3, c0, c1, c2, c3)
EMU_TMA(5, int c0 EMU_COMMA int c1 EMU_COMMA int c2 EMU_COMMA int c3 EMU_COMMA int c4, c0, c1, c2, c3, c4)
#undef EMU_COMMA
#undef EMU_TMA
static EMU_INLINE void tma_store_commit() { emu_tma_store_commit(); }
// To have read is all that a store has to do here, for it writes at once what it reads.
template <int groups_left>
static EMU_INLINE void tma_store_wait() { emu_tma_store_wait(groups_left); }
template <int groups_left>
static EMU_INLINE void tma_store_wait_read() { emu_tma_store_wait(groups_left); }

static EMU_INLINE void wgmma_fence() { emu_wgmma_fence(); }
static EMU_INLINE void wgmma_commit() { emu_wgmma_commit(); }
template <int groups_left>
static EMU_INLINE void wgmma_wait(EMU_SITE) { emu_wgmma_wait(groups_left, site); }
// The registers are memory here that the runtime may change in any call, so the compiler moves nothing across one.
template <int N>
static EMU_INLINE void wgmma_keep(float (&)[N]) {}
template <int N>
static EMU_INLINE void wgmma_keep(uint32_t (&)[N]) {}

static EMU_INLINE uint64_t wgmma_descriptor(const void* shared, unsigned leading_bytes, unsigned stride_bytes, Swizzle swizzle) {
  return emu_wgmma_descriptor(shared, leading_bytes, stride_bytes, swizzle);
}

template <typename T, int N>
constexpr int wgmma_type() {
  static_assert(std::is_same<T, __half>::value || std::is_same<T, __nv_bfloat16>::value, "wgmma is of __half or __nv_bfloat16");
  static_assert(N % 8 == 0 && N >= 8 && N <= 256, "N of wgmma is a multiple of 8 up to 256");
  return std::is_same<T, __half>::value ? emu::kMatrixHalf : emu::kMatrixBfloat16;
}
template <typename T, int N, bool B_MN_MAJOR = false>
static EMU_INLINE void wgmma_ss(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate, EMU_SITE) {
  const emu::Wgmma operation{wgmma_type<T, N>(), N, B_MN_MAJOR, false, accumulate, d, nullptr, a, b};
  emu_wgmma(&operation, site);
}
template <typename T, int N, bool B_MN_MAJOR = false>
static EMU_INLINE void wgmma_rs(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate, EMU_SITE) {
  const emu::Wgmma operation{wgmma_type<T, N>(), N, B_MN_MAJOR, true, accumulate, d, a, 0, b};
  emu_wgmma(&operation, site);
}

static EMU_INLINE auto encode_tiled() { return &cuTensorMapEncodeTiled; }

}  // namespace yaie
