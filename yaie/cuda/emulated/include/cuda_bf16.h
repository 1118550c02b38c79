#pragma once
#include "float16.h"
#include "yaie_emulator.h"

typedef emu::Bfloat16 __nv_bfloat16;
typedef emu::Bfloat16 nv_bfloat16;
typedef emu::Float16x2<emu::Bfloat16Format> __nv_bfloat162;
typedef __nv_bfloat162 nv_bfloat162;

static inline __nv_bfloat16 __float2bfloat16(float f) { return f; }
static inline __nv_bfloat16 __float2bfloat16_rn(float f) { return f; }
static inline __nv_bfloat16 __double2bfloat16(double f) { return f; }
static inline __nv_bfloat16 __int2bfloat16_rn(int i) { return i; }
static inline __nv_bfloat16 __uint2bfloat16_rn(unsigned i) { return i; }
static inline int __bfloat162int_rn(__nv_bfloat16 h) { return static_cast<int>(rintf(h)); }
static inline int __bfloat162int_rz(__nv_bfloat16 h) { return static_cast<int>(float(h)); }
static inline short __bfloat16_as_short(__nv_bfloat16 h) { return static_cast<short>(h.bits); }
static inline __nv_bfloat162 __low2bfloat162(__nv_bfloat162 h) { return {h.x, h.x}; }
static inline __nv_bfloat162 __high2bfloat162(__nv_bfloat162 h) { return {h.y, h.y}; }
static inline float __bfloat162float(__nv_bfloat16 h) { return h; }
static inline __nv_bfloat162 __float2bfloat162_rn(float f) { return {f, f}; }
static inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) { return {a, b}; }
static inline __nv_bfloat162 __float22bfloat162_rn(float2 f) { return {f.x, f.y}; }
static inline float2 __bfloat1622float2(__nv_bfloat162 h) { return make_float2(h.x, h.y); }
static inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 h) { return {h, h}; }
static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) { return {a, b}; }
static inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) { return {a, b}; }
static inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 h) { return h.x; }
static inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 h) { return h.y; }
static inline float __low2float(__nv_bfloat162 h) { return h.x; }
static inline float __high2float(__nv_bfloat162 h) { return h.y; }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 h) { return h.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { __nv_bfloat16 h; h.bits = bits; return h; }
static EMU_INLINE __nv_bfloat16 atomicAdd(__nv_bfloat16* address, __nv_bfloat16 value) {
  return emu::atomic(address, [=](__nv_bfloat16 old) -> __nv_bfloat16 { return old + value; });
}
static EMU_INLINE __nv_bfloat162 atomicAdd(__nv_bfloat162* address, __nv_bfloat162 value) {
  return emu::atomic(address, [=](__nv_bfloat162 old) -> __nv_bfloat162 { return old + value; });
}
