// Device functions that need no #include: barriers, warp functions, atomics, arithmetic and bit intrinsics.
#pragma once
#include "yaie_emulator.h"

// ---- barriers and fences
// Inlined, so that two barriers of one macro are two calls.
static EMU_INLINE void __syncthreads(EMU_SITE) { emu_barrier(emu::kBarrier, 0, site); }
static EMU_INLINE int __syncthreads_count(int p, EMU_SITE) { return emu_barrier(emu::kBarrierCount, p, site); }
static EMU_INLINE int __syncthreads_and(int p, EMU_SITE) { return emu_barrier(emu::kBarrierAnd, p, site); }
static EMU_INLINE int __syncthreads_or(int p, EMU_SITE) { return emu_barrier(emu::kBarrierOr, p, site); }
static inline void __syncwarp(unsigned mask = ~0u, EMU_SITE) { emu_syncwarp(mask, site); }
static inline unsigned __activemask(EMU_SITE) { return emu_active_mask(site); }
static inline void __threadfence() { emu_fence(emu::kFenceDevice); }
static inline void __threadfence_system() { emu_fence(emu::kFenceDevice); }
static inline void __threadfence_block() { emu_fence(emu::kFenceBlock); }
static inline void __nanosleep(unsigned) { emu_pause(); }
static inline void __trap(EMU_SITE) { emu_trap("__trap()", site); }
static inline void __brkpt() {}
static inline long long clock64() { return emu_clock(); }
static inline int emu_clock32() { return static_cast<int>(emu_clock()); }

// ---- warp functions
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMU_SITE) {
  emu_shuffle(emu::kShuffleIndex, mask, &value, sizeof value, source, width, site);
  return value;
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMU_SITE) {
  emu_shuffle(emu::kShuffleUp, mask, &value, sizeof value, static_cast<int>(delta), width, site);
  return value;
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMU_SITE) {
  emu_shuffle(emu::kShuffleDown, mask, &value, sizeof value, static_cast<int>(delta), width, site);
  return value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, EMU_SITE) {
  emu_shuffle(emu::kShuffleXor, mask, &value, sizeof value, lanes, width, site);
  return value;
}
static inline unsigned __ballot_sync(unsigned mask, int p, EMU_SITE) { return emu_ballot(mask, p, site); }
static inline int __any_sync(unsigned mask, int p, EMU_SITE) { return emu_ballot(mask, p, site) != 0; }
static inline int __all_sync(unsigned mask, int p, EMU_SITE) { return emu_ballot(mask, !p, site) == 0; }
template <class T>
unsigned __match_any_sync(unsigned mask, T value, EMU_SITE) { return emu_match(mask, &value, sizeof value, site); }
template <class T>
unsigned __match_all_sync(unsigned mask, T value, int* all, EMU_SITE) {
  unsigned same = emu_match(mask, &value, sizeof value, site);
  *all = emu_ballot(mask, same != mask, site) == 0;
  return *all ? mask : 0;
}
#define EMU_REDUCE(name, op)                                                                          \
  static inline unsigned __reduce_##name##_sync(unsigned mask, unsigned value, EMU_SITE) {            \
    return emu_reduce(op, false, mask, value, site);                                                  \
  }                                                                                                   \
  static inline int __reduce_##name##_sync(unsigned mask, int value, EMU_SITE) {                      \
    return static_cast<int>(emu_reduce(op, true, mask, static_cast<unsigned>(value), site));          \
  }
EMU_REDUCE(add, emu::kReduceAdd)
EMU_REDUCE(min, emu::kReduceMin)
EMU_REDUCE(max, emu::kReduceMax)
EMU_REDUCE(and, emu::kReduceAnd)
EMU_REDUCE(or, emu::kReduceOr)
EMU_REDUCE(xor, emu::kReduceXor)

// ---- atomics
#if defined(__clang__)  // whose no_sanitize leaves atomics instrumented
#define EMU_UNCHECKED __attribute__((noinline, no_sanitize("thread"), disable_sanitizer_instrumentation))
#else
#define EMU_UNCHECKED __attribute__((noinline, no_sanitize("thread")))
#endif

namespace emu {

// Blocks run on several CPU threads in fast mode, so the update is a real compare-and-swap loop. It is not
// instrumented: the access was already declared by emu_note_atomic, on the caller's line.
template <class T, class Update>
EMU_UNCHECKED T compare_and_swap(T* address, Update update) {
  typedef std::conditional_t<
      sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>> Bits;
  static_assert(sizeof(T) == sizeof(Bits), "CUDA has atomics of 2, 4 and 8 bytes");
  auto* word = reinterpret_cast<Bits*>(address);
  Bits old_bits = __atomic_load_n(word, __ATOMIC_RELAXED), new_bits;
  T old;
  do {
    __builtin_memcpy(&old, &old_bits, sizeof old);
    T desired = update(old);
    __builtin_memcpy(&new_bits, &desired, sizeof desired);
  } while (!__atomic_compare_exchange_n(word, &old_bits, new_bits, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}

template <AtomicOp op = kUpdate, class T, class Update>
EMU_INLINE T atomic(T* address, Update update) {
  emu_note_atomic(address, sizeof(T), op);
  return compare_and_swap(address, update);
}

}  // namespace emu

// The _block and _system forms differ from the plain ones only in scope, which one process does not have.
#define EMU_ATOMIC(name, T, result) EMU_ATOMIC_OF(emu::kUpdate, name, T, result)
#define EMU_ATOMIC_OF(op, name, T, result)                                                             \
  static EMU_INLINE T atomic##name(T* address, T value) {                                         \
    return emu::atomic<op>(address, [=](T old) -> T { return result; });                               \
  }                                                                                                    \
  static EMU_INLINE T atomic##name##_block(T* address, T value) { return atomic##name(address, value); } \
  static EMU_INLINE T atomic##name##_system(T* address, T value) { return atomic##name(address, value); }
#define EMU_ATOMIC_INTEGERS(name, result)         \
  EMU_ATOMIC(name, int, result)                   \
  EMU_ATOMIC(name, unsigned, result)              \
  EMU_ATOMIC(name, unsigned long long, result)
EMU_ATOMIC_INTEGERS(Add, old + value)
EMU_ATOMIC_INTEGERS(Min, value < old ? value : old)
EMU_ATOMIC_INTEGERS(Max, old < value ? value : old)
EMU_ATOMIC_INTEGERS(And, old & value)
EMU_ATOMIC_INTEGERS(Or, old | value)
EMU_ATOMIC_INTEGERS(Xor, old ^ value)
EMU_ATOMIC(Sub, int, old - value)
EMU_ATOMIC(Sub, unsigned, old - value)
EMU_ATOMIC(Min, long long, value < old ? value : old)
EMU_ATOMIC(Max, long long, old < value ? value : old)
EMU_ATOMIC(Inc, unsigned, old >= value ? 0 : old + 1)
EMU_ATOMIC(Dec, unsigned, old == 0 || old > value ? value : old - 1)
EMU_ATOMIC(Add, float, old + value)
EMU_ATOMIC_OF(emu::kExchange, Exch, int, ((void)old, value))
EMU_ATOMIC_OF(emu::kExchange, Exch, unsigned, ((void)old, value))
EMU_ATOMIC_OF(emu::kExchange, Exch, unsigned long long, ((void)old, value))
EMU_ATOMIC_OF(emu::kExchange, Exch, float, ((void)old, value))
EMU_ATOMIC(Add, double, old + value)

#define EMU_ATOMIC_CAS(T)                                                                              \
  static EMU_INLINE T atomicCAS(T* address, T compare, T value) {                                 \
    return emu::atomic<emu::kCompare>(address, [=](T old) -> T { return old == compare ? value : old; });             \
  }                                                                                                    \
  static EMU_INLINE T atomicCAS_block(T* a, T compare, T value) { return atomicCAS(a, compare, value); } \
  static EMU_INLINE T atomicCAS_system(T* a, T compare, T value) { return atomicCAS(a, compare, value); }
EMU_ATOMIC_CAS(int)
EMU_ATOMIC_CAS(unsigned)
EMU_ATOMIC_CAS(unsigned long long)
EMU_ATOMIC_CAS(unsigned short)

// The vector forms (sm_90) are atomic per element, on the card too.
static EMU_INLINE float2 atomicAdd(float2* address, float2 value) {
  auto* p = reinterpret_cast<float*>(address);
  float x = atomicAdd(p, value.x), y = atomicAdd(p + 1, value.y);
  return make_float2(x, y);
}
static EMU_INLINE float4 atomicAdd(float4* address, float4 value) {
  auto* p = reinterpret_cast<float*>(address);
  float x = atomicAdd(p, value.x), y = atomicAdd(p + 1, value.y);
  float z = atomicAdd(p + 2, value.z), w = atomicAdd(p + 3, value.w);
  return make_float4(x, y, z, w);
}

// ---- arithmetic
using std::abs;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

// glibc's <math.h> already declares __expf and its kin, so these must be macros.
#define __expf(x) expf(x)
#define __exp10f(x) exp10f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanf(x) tanf(x)
#define __tanhf(x) tanhf(x)
#define __sincosf(x, s, c) sincosf(x, s, c)
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / ::sqrt(x); }
static inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
static inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678f); }
static inline float sinpif(float x) { return sinf(x * 3.14159265358979f); }
static inline float cospif(float x) { return cosf(x * 3.14159265358979f); }
static inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __frsqrt_rn(float a) { return rsqrtf(a); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline int __mul24(int a, int b) { return (a << 8 >> 8) * (b << 8 >> 8); }
static inline int __mulhi(int a, int b) { return static_cast<int>(static_cast<long long>(a) * b >> 32); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned long long>(a) * b >> 32; }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}

// ---- bits
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (x >> i & 1u) << (31 - i);
  return r;
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) << (shift & 31) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) >> (shift & 31));
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i) {
    unsigned s = selector >> (4 * i) & 15, byte = bytes >> (8 * (s & 7)) & 255;
    if (s & 8) byte = byte & 128 ? 255 : 0;  // bit 3 of a selector replicates the sign
    r |= byte << (8 * i);
  }
  return r;
}
static inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i) c += static_cast<signed char>(a >> 8 * i) * static_cast<signed char>(b >> 8 * i);
  return c;
}
namespace emu {
template <class To, class From>
EMU_INLINE To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "");
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}
}  // namespace emu
static inline float __int_as_float(int x) { return emu::bit_cast<float>(x); }
static inline int __float_as_int(float x) { return emu::bit_cast<int>(x); }
static inline float __uint_as_float(unsigned x) { return emu::bit_cast<float>(x); }
static inline unsigned __float_as_uint(float x) { return emu::bit_cast<unsigned>(x); }
static inline double __longlong_as_double(long long x) { return emu::bit_cast<double>(x); }
static inline long long __double_as_longlong(double x) { return emu::bit_cast<long long>(x); }

// ---- memory: the cache hints mean nothing on a CPU, which has no model of the card's caches
template <class T> EMU_INLINE T __ldg(const T* p) { return *p; }
template <class T> EMU_INLINE T __ldcg(const T* p) { return *p; }
template <class T> EMU_INLINE T __ldca(const T* p) { return *p; }
template <class T> EMU_INLINE T __ldcs(const T* p) { return *p; }
template <class T> EMU_INLINE T __ldlu(const T* p) { return *p; }
template <class T> EMU_INLINE void __stcg(T* p, T v) { *p = v; }
template <class T> EMU_INLINE void __stcs(T* p, T v) { *p = v; }
template <class T> EMU_INLINE void __stwb(T* p, T v) { *p = v; }
template <class T> EMU_INLINE void __stwt(T* p, T v) { *p = v; }
static inline size_t __cvta_generic_to_shared(const void* p) { return reinterpret_cast<size_t>(p); }
static inline size_t __cvta_generic_to_global(const void* p) { return reinterpret_cast<size_t>(p); }
