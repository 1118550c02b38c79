// More of CUDA's arithmetic: min and max with exactly its overloads (so that what nvcc finds ambiguous is so here too),
// rounding conversions, half-warp-wide "SIMD in a word", and <math_constants.h>'s functions.
#pragma once
#include "yaie_emulator.h"

#define EMU_MIN_MAX(R, A, B)                                                                         \
  constexpr R min(A a, B b) { return static_cast<R>(b) < static_cast<R>(a) ? static_cast<R>(b) : static_cast<R>(a); } \
  constexpr R max(A a, B b) { return static_cast<R>(a) < static_cast<R>(b) ? static_cast<R>(b) : static_cast<R>(a); }
#define EMU_MIN_MAX_INTEGERS(S, U) EMU_MIN_MAX(S, S, S) EMU_MIN_MAX(U, U, U) EMU_MIN_MAX(U, S, U) EMU_MIN_MAX(U, U, S)
EMU_MIN_MAX_INTEGERS(int, unsigned)
EMU_MIN_MAX_INTEGERS(long, unsigned long)
EMU_MIN_MAX_INTEGERS(long long, unsigned long long)
EMU_MIN_MAX(double, double, float)
EMU_MIN_MAX(double, float, double)
EMU_MIN_MAX(double, double, double)
#undef EMU_MIN_MAX
#define EMU_MIN_MAX(name, T) \
  constexpr T name##min(T a, T b) { return b < a ? b : a; } \
  constexpr T name##max(T a, T b) { return a < b ? b : a; }
EMU_MIN_MAX(, float)
EMU_MIN_MAX(u, unsigned)
EMU_MIN_MAX(ll, long long)
EMU_MIN_MAX(ull, unsigned long long)
#undef EMU_MIN_MAX
#undef EMU_MIN_MAX_INTEGERS

// ---- conversions: to the nearest, down, up, towards zero
#define EMU_TO_INTEGER(from, F, to, T)                                                     \
  static inline T __##from##2##to##_rn(F x) { return static_cast<T>(std::nearbyint(x)); }  \
  static inline T __##from##2##to##_rd(F x) { return static_cast<T>(std::floor(x)); }      \
  static inline T __##from##2##to##_ru(F x) { return static_cast<T>(std::ceil(x)); }       \
  static inline T __##from##2##to##_rz(F x) { return static_cast<T>(x); }
EMU_TO_INTEGER(float, float, int, int)
EMU_TO_INTEGER(float, float, uint, unsigned)
EMU_TO_INTEGER(float, float, ll, long long)
EMU_TO_INTEGER(float, float, ull, unsigned long long)
EMU_TO_INTEGER(double, double, int, int)
EMU_TO_INTEGER(double, double, uint, unsigned)
EMU_TO_INTEGER(double, double, ll, long long)
EMU_TO_INTEGER(double, double, ull, unsigned long long)
#undef EMU_TO_INTEGER
static inline float __int2float_rn(int x) { return static_cast<float>(x); }
static inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
static inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
static inline float __ull2float_rn(unsigned long long x) { return static_cast<float>(x); }
static inline float __double2float_rn(double x) { return static_cast<float>(x); }
static inline double __int2double_rn(int x) { return x; }
static inline double __uint2double_rn(unsigned x) { return x; }
static inline double __ll2double_rn(long long x) { return static_cast<double>(x); }
static inline double __ull2double_rn(unsigned long long x) { return static_cast<double>(x); }

// ---- arithmetic
static inline double rcbrt(double x) { return 1.0 / cbrt(x); }
static inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752); }
static inline float erfcxf(float x) { return static_cast<float>(exp(double(x) * x) * erfc(double(x))); }
static inline double sinpi(double x) { return sin(x * 3.14159265358979323846); }
static inline double cospi(double x) { return cos(x * 3.14159265358979323846); }
static inline void sincospif(float x, float* s, float* c) { *s = sinpif(x), *c = cospif(x); }
static inline float rhypotf(float x, float y) { return 1.0f / hypotf(x, y); }
static inline float norm3df(float a, float b, float c) { return sqrtf(a * a + b * b + c * c); }
static inline float rnorm3df(float a, float b, float c) { return 1.0f / norm3df(a, b, c); }
static inline float norm4df(float a, float b, float c, float d) { return sqrtf(a * a + b * b + c * c + d * d); }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __dsqrt_rn(double a) { return ::sqrt(a); }
static inline double __drcp_rn(double a) { return 1.0 / a; }
static inline unsigned __umul24(unsigned a, unsigned b) { return (a & 0xffffffu) * (b & 0xffffffu); }
static inline long long __mul64hi(long long a, long long b) {
  return static_cast<long long>(static_cast<__int128>(a) * b >> 64);
}
static inline int __hadd(int a, int b) { return static_cast<int>((static_cast<long long>(a) + b) >> 1); }
static inline int __rhadd(int a, int b) { return static_cast<int>((static_cast<long long>(a) + b + 1) >> 1); }
static inline unsigned __uhadd(unsigned a, unsigned b) { return static_cast<unsigned>((uint64_t(a) + b) >> 1); }
static inline unsigned __urhadd(unsigned a, unsigned b) { return static_cast<unsigned>((uint64_t(a) + b + 1) >> 1); }
static inline unsigned __sad(int a, int b, unsigned c) { return c + static_cast<unsigned>(a < b ? b - a : a - b); }
static inline unsigned __usad(unsigned a, unsigned b, unsigned c) { return c + (a < b ? b - a : a - b); }

// ---- bits
static inline unsigned long long __brevll(unsigned long long x) {
  return static_cast<unsigned long long>(__brev(static_cast<unsigned>(x))) << 32 | __brev(static_cast<unsigned>(x >> 32));
}
static inline unsigned __funnelshift_lc(unsigned low, unsigned high, unsigned shift) {
  return shift >= 32 ? low : __funnelshift_l(low, high, shift);
}
static inline unsigned __funnelshift_rc(unsigned low, unsigned high, unsigned shift) {
  return shift >= 32 ? high : __funnelshift_r(low, high, shift);
}
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 4; ++i) c += (a >> 8 * i & 255) * (b >> 8 * i & 255);
  return c;
}
static inline int __double2hiint(double x) { return static_cast<int>(emu::bit_cast<long long>(x) >> 32); }
static inline int __double2loint(double x) { return static_cast<int>(emu::bit_cast<long long>(x)); }
static inline double __hiloint2double(int high, int low) {
  return emu::bit_cast<double>(static_cast<long long>(high) << 32 | static_cast<unsigned>(low));
}

// ---- bytes and halves of a word
#define EMU_IN_WORD(name, count, T, result)                                                        \
  static inline unsigned name(unsigned x, unsigned y) {                                            \
    unsigned all = 0, bits = 32 / count;                                                           \
    for (unsigned i = 0; i < count; ++i) {                                                         \
      [[maybe_unused]] auto a = static_cast<T>(x >> bits * i), b = static_cast<T>(y >> bits * i);  \
      all |= (static_cast<unsigned>(result) & ((1u << bits) - 1)) << bits * i;                     \
    }                                                                                              \
    return all;                                                                                    \
  }
#define EMU_IN_WORDS(n, S, U)                            \
  EMU_IN_WORD(__vadd##n, n, U, a + b)                    \
  EMU_IN_WORD(__vsub##n, n, U, a - b)                    \
  EMU_IN_WORD(__vmaxs##n, n, S, a < b ? b : a)           \
  EMU_IN_WORD(__vmaxu##n, n, U, a < b ? b : a)           \
  EMU_IN_WORD(__vmins##n, n, S, b < a ? b : a)           \
  EMU_IN_WORD(__vminu##n, n, U, b < a ? b : a)           \
  EMU_IN_WORD(__vcmpeq##n, n, U, a == b ? ~0u : 0)       \
  EMU_IN_WORD(__vcmpne##n, n, U, a != b ? ~0u : 0)       \
  EMU_IN_WORD(__vcmpgtu##n, n, U, a > b ? ~0u : 0)       \
  EMU_IN_WORD(__vcmpgts##n, n, S, a > b ? ~0u : 0)       \
  EMU_IN_WORD(__vabsdiffu##n, n, U, a < b ? b - a : a - b)
EMU_IN_WORDS(4, signed char, unsigned char)
EMU_IN_WORDS(2, short, unsigned short)
#undef EMU_IN_WORDS
#undef EMU_IN_WORD
