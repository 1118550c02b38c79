#pragma once
#include "float16.h"
#include "yaie_emulator.h"

typedef emu::Half __half;
typedef emu::Half half;
typedef emu::Float16x2<emu::HalfFormat> __half2;
typedef __half2 half2;

static inline __half __float2half(float f) { return f; }
static inline __half __float2half_rn(float f) { return f; }
static inline __half __double2half(double f) { return f; }
static inline __half __int2half_rn(int i) { return i; }
static inline __half __uint2half_rn(unsigned i) { return i; }
static inline __half __float2half_rz(float f) {
  __half h = f;
  if (fabsf(float(h)) > fabsf(f)) --h.bits;
  return h;
}
static inline __half __short2half_rn(short i) { return i; }
static inline __half __ushort2half_rn(unsigned short i) { return i; }
static inline __half __ll2half_rn(long long i) { return i; }
static inline int __half2int_rd(__half h) { return static_cast<int>(floorf(h)); }
static inline int __half2int_ru(__half h) { return static_cast<int>(ceilf(h)); }
static inline unsigned __half2uint_rn(__half h) { return static_cast<unsigned>(rintf(h)); }
static inline unsigned __half2uint_rz(__half h) { return static_cast<unsigned>(float(h)); }
static inline short __half2short_rn(__half h) { return static_cast<short>(rintf(h)); }
static inline __half __short_as_half(short bits) { __half h; h.bits = static_cast<unsigned short>(bits); return h; }
#define CUDART_ZERO_FP16 __ushort_as_half(0x0000)
#define CUDART_ONE_FP16 __ushort_as_half(0x3c00)
#define CUDART_INF_FP16 __ushort_as_half(0x7c00)
#define CUDART_MAX_NORMAL_FP16 __ushort_as_half(0x7bff)
#define CUDART_NAN_FP16 __ushort_as_half(0x7fff)
static inline float __half2float(__half h) { return h; }
static inline int __half2int_rn(__half h) { return static_cast<int>(rintf(h)); }
static inline int __half2int_rz(__half h) { return static_cast<int>(float(h)); }
static inline __half2 __float2half2_rn(float f) { return {f, f}; }
static inline __half2 __floats2half2_rn(float a, float b) { return {a, b}; }
static inline __half2 __float22half2_rn(float2 f) { return {f.x, f.y}; }
static inline float2 __half22float2(__half2 h) { return make_float2(h.x, h.y); }
static inline __half2 __half2half2(__half h) { return {h, h}; }
static inline __half2 __halves2half2(__half a, __half b) { return {a, b}; }
static inline __half2 make_half2(__half a, __half b) { return {a, b}; }
static inline __half __low2half(__half2 h) { return h.x; }
static inline __half __high2half(__half2 h) { return h.y; }
static inline float __low2float(__half2 h) { return h.x; }
static inline float __high2float(__half2 h) { return h.y; }
static inline unsigned short __half_as_ushort(__half h) { return h.bits; }
static inline short __half_as_short(__half h) { return static_cast<short>(h.bits); }
static inline __half __ushort_as_half(unsigned short bits) { __half h; h.bits = bits; return h; }
static EMU_INLINE __half atomicAdd(__half* address, __half value) {
  return emu::atomic(address, [=](__half old) -> __half { return old + value; });
}
static EMU_INLINE __half2 atomicAdd(__half2* address, __half2 value) {
  return emu::atomic(address, [=](__half2 old) -> __half2 { return old + value; });
}
