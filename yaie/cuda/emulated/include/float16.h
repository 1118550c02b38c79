// __half and __nv_bfloat16: two 16-bit formats, one implementation. The intrinsics round once, to nearest even,
// after computing in fp32, which is what the card does for add, mul and fma on values of these sizes.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace emu {

inline float bits_to_float(uint32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
inline uint32_t float_to_bits(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  return bits;
}

struct HalfFormat {
  static float decode(uint16_t h) {
    uint32_t magnitude = (h & 0x7fffu) << 13, sign = (h & 0x8000u) << 16;
    float scaled = bits_to_float(magnitude) * 0x1p112f;  // moves the exponent bias from 15 to 127, subnormals too
    uint32_t bits = float_to_bits(scaled);
    if ((h & 0x7c00u) == 0x7c00u) bits |= 0x7f800000u;  // infinity and NaN
    return bits_to_float(bits | sign);
  }
  static uint16_t encode(float f) {
    uint32_t bits = float_to_bits(f), sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits >= 0x47800000u) return static_cast<uint16_t>(sign | (bits > 0x7f800000u ? 0x7fffu : 0x7c00u));
    if (bits < 0x38800000u) {  // subnormal: adding 0.5 lets the adder round to multiples of 2^-24
      return static_cast<uint16_t>(sign | (float_to_bits(bits_to_float(bits) + 0.5f) - 0x3f000000u));
    }
    bits += 0xc8000000u + 0xfffu + (bits >> 13 & 1u);  // rebias the exponent, round to nearest even
    return static_cast<uint16_t>(sign | bits >> 13);
  }
};

struct Bfloat16Format {
  static float decode(uint16_t h) { return bits_to_float(static_cast<uint32_t>(h) << 16); }
  static uint16_t encode(float f) {
    uint32_t bits = float_to_bits(f);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
  }
};

template <class Format>
struct Float16 {
  uint16_t bits;
  Float16() = default;
  template <class Number, class = std::enable_if_t<std::is_arithmetic<Number>::value>>
  Float16(Number value) : bits(Format::encode(static_cast<float>(value))) {}
  operator float() const { return Format::decode(bits); }
  Float16& operator+=(Float16 b) { return *this = Float16(float(*this) + float(b)); }
  Float16& operator-=(Float16 b) { return *this = Float16(float(*this) - float(b)); }
  Float16& operator*=(Float16 b) { return *this = Float16(float(*this) * float(b)); }
  Float16& operator/=(Float16 b) { return *this = Float16(float(*this) / float(b)); }
  Float16& operator++() { return *this = Float16(float(*this) + 1); }
  Float16& operator--() { return *this = Float16(float(*this) - 1); }
  Float16 operator++(int) { Float16 old = *this; ++*this; return old; }
  Float16 operator--(int) { Float16 old = *this; --*this; return old; }
};

template <class Format>
struct alignas(4) Float16x2 {
  Float16<Format> x, y;
  Float16x2() = default;
  Float16x2(Float16<Format> x_, Float16<Format> y_) : x(x_), y(y_) {}
  Float16x2& operator+=(Float16x2 b) { return *this = *this + b; }
  Float16x2& operator-=(Float16x2 b) { return *this = *this - b; }
  Float16x2& operator*=(Float16x2 b) { return *this = *this * b; }
  Float16x2& operator/=(Float16x2 b) { return *this = *this / b; }
};

#define EMU_16 template <class F> inline Float16<F>
#define EMU_16X2 template <class F> inline Float16x2<F>
#define EMU_A Float16<F> a
#define EMU_AB Float16<F> a, Float16<F> b
#define EMU_VA Float16x2<F> a
#define EMU_VAB Float16x2<F> a, Float16x2<F> b

EMU_16 operator+(EMU_AB) { return float(a) + float(b); }
EMU_16 operator-(EMU_AB) { return float(a) - float(b); }
EMU_16 operator*(EMU_AB) { return float(a) * float(b); }
EMU_16 operator/(EMU_AB) { return float(a) / float(b); }
EMU_16 operator-(EMU_A) { return -float(a); }
EMU_16 operator+(EMU_A) { return a; }
template <class F> inline bool operator<(EMU_AB) { return float(a) < float(b); }
template <class F> inline bool operator>(EMU_AB) { return float(a) > float(b); }
template <class F> inline bool operator<=(EMU_AB) { return float(a) <= float(b); }
template <class F> inline bool operator>=(EMU_AB) { return float(a) >= float(b); }
template <class F> inline bool operator==(EMU_AB) { return float(a) == float(b); }
template <class F> inline bool operator!=(EMU_AB) { return float(a) != float(b); }

EMU_16 __hadd(EMU_AB) { return a + b; }
EMU_16 __hsub(EMU_AB) { return a - b; }
EMU_16 __hmul(EMU_AB) { return a * b; }
EMU_16 __hdiv(EMU_AB) { return a / b; }
EMU_16 __hneg(EMU_A) { return -a; }
EMU_16 __habs(EMU_A) { return fabsf(a); }
EMU_16 __hfma(EMU_AB, Float16<F> c) { return fmaf(a, b, c); }
EMU_16 __hmax(EMU_AB) { return fmaxf(a, b); }
EMU_16 __hmin(EMU_AB) { return fminf(a, b); }
template <class F> inline bool __heq(EMU_AB) { return a == b; }
template <class F> inline bool __hne(EMU_AB) { return a != b; }
template <class F> inline bool __hlt(EMU_AB) { return a < b; }
template <class F> inline bool __hle(EMU_AB) { return a <= b; }
template <class F> inline bool __hgt(EMU_AB) { return a > b; }
template <class F> inline bool __hge(EMU_AB) { return a >= b; }
template <class F> inline bool __hisnan(EMU_A) { return std::isnan(float(a)); }
EMU_16 hexp(EMU_A) { return expf(a); }
EMU_16 hlog(EMU_A) { return logf(a); }
EMU_16 hsqrt(EMU_A) { return sqrtf(a); }
EMU_16 hrsqrt(EMU_A) { return 1.0f / sqrtf(a); }
EMU_16 hrcp(EMU_A) { return 1.0f / float(a); }
EMU_16 hexp2(EMU_A) { return exp2f(a); }
EMU_16 hexp10(EMU_A) { return exp10f(a); }
EMU_16 hlog2(EMU_A) { return log2f(a); }
EMU_16 hlog10(EMU_A) { return log10f(a); }
EMU_16 hsin(EMU_A) { return sinf(a); }
EMU_16 hcos(EMU_A) { return cosf(a); }
EMU_16 hfloor(EMU_A) { return floorf(a); }
EMU_16 hceil(EMU_A) { return ceilf(a); }
EMU_16 htrunc(EMU_A) { return truncf(a); }
EMU_16 hrint(EMU_A) { return rintf(a); }
EMU_16 __hadd_rn(EMU_AB) { return a + b; }
EMU_16 __hsub_rn(EMU_AB) { return a - b; }
EMU_16 __hmul_rn(EMU_AB) { return a * b; }
EMU_16 __hadd_sat(EMU_AB) { return fminf(fmaxf(float(a + b), 0.0f), 1.0f); }
EMU_16 __hmul_sat(EMU_AB) { return fminf(fmaxf(float(a * b), 0.0f), 1.0f); }
EMU_16 __hfma_relu(EMU_AB, Float16<F> c) { return fmaxf(fmaf(a, b, c), 0.0f); }
EMU_16 __hmax_nan(EMU_AB) { return std::isnan(float(a)) || std::isnan(float(b)) ? NAN : fmaxf(a, b); }
EMU_16 __hmin_nan(EMU_AB) { return std::isnan(float(a)) || std::isnan(float(b)) ? NAN : fminf(a, b); }
template <class F> inline int __hisinf(EMU_A) { return std::isinf(float(a)) ? (float(a) < 0 ? -1 : 1) : 0; }
EMU_16 htanh(EMU_A) { return tanhf(a); }

EMU_16X2 __hadd2(EMU_VAB) { return {a.x + b.x, a.y + b.y}; }
EMU_16X2 __hsub2(EMU_VAB) { return {a.x - b.x, a.y - b.y}; }
EMU_16X2 __hmul2(EMU_VAB) { return {a.x * b.x, a.y * b.y}; }
EMU_16X2 __h2div(EMU_VAB) { return {a.x / b.x, a.y / b.y}; }
EMU_16X2 __hneg2(EMU_VA) { return {-a.x, -a.y}; }
EMU_16X2 __habs2(EMU_VA) { return {__habs(a.x), __habs(a.y)}; }
EMU_16X2 __hfma2(EMU_VAB, Float16x2<F> c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
EMU_16X2 __hmax2(EMU_VAB) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
EMU_16X2 __hmin2(EMU_VAB) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }
EMU_16X2 h2exp(EMU_VA) { return {hexp(a.x), hexp(a.y)}; }
EMU_16X2 operator+(EMU_VAB) { return __hadd2(a, b); }
EMU_16X2 operator-(EMU_VAB) { return __hsub2(a, b); }
EMU_16X2 operator*(EMU_VAB) { return __hmul2(a, b); }

EMU_16X2 operator/(EMU_VAB) { return __h2div(a, b); }
EMU_16X2 operator-(EMU_VA) { return __hneg2(a); }
EMU_16X2 operator+(EMU_VA) { return a; }
template <class F> inline bool operator==(EMU_VAB) { return a.x == b.x && a.y == b.y; }
template <class F> inline bool operator!=(EMU_VAB) { return a.x != b.x && a.y != b.y; }
template <class F> inline bool operator<(EMU_VAB) { return a.x < b.x && a.y < b.y; }
template <class F> inline bool operator>(EMU_VAB) { return a.x > b.x && a.y > b.y; }
template <class F> inline bool operator<=(EMU_VAB) { return a.x <= b.x && a.y <= b.y; }
template <class F> inline bool operator>=(EMU_VAB) { return a.x >= b.x && a.y >= b.y; }
EMU_16X2 h2sqrt(EMU_VA) { return {hsqrt(a.x), hsqrt(a.y)}; }
EMU_16X2 h2rsqrt(EMU_VA) { return {hrsqrt(a.x), hrsqrt(a.y)}; }
EMU_16X2 h2rcp(EMU_VA) { return {hrcp(a.x), hrcp(a.y)}; }
EMU_16X2 h2log(EMU_VA) { return {hlog(a.x), hlog(a.y)}; }
EMU_16X2 h2exp2(EMU_VA) { return {hexp2(a.x), hexp2(a.y)}; }
EMU_16X2 h2tanh(EMU_VA) { return {htanh(a.x), htanh(a.y)}; }
EMU_16X2 h2floor(EMU_VA) { return {hfloor(a.x), hfloor(a.y)}; }
EMU_16X2 h2ceil(EMU_VA) { return {hceil(a.x), hceil(a.y)}; }
EMU_16X2 __lowhigh2highlow(EMU_VA) { return {a.y, a.x}; }
EMU_16X2 __lows2half2(EMU_VAB) { return {a.x, b.x}; }
EMU_16X2 __highs2half2(EMU_VAB) { return {a.y, b.y}; }
EMU_16X2 __low2half2(EMU_VA) { return {a.x, a.x}; }
EMU_16X2 __high2half2(EMU_VA) { return {a.y, a.y}; }
#define EMU_16X2_COMPARE(name, op)                                                                        \
  EMU_16X2 __h##name##2(EMU_VAB) { return {a.x op b.x ? 1.0f : 0.0f, a.y op b.y ? 1.0f : 0.0f}; }         \
  template <class F> inline bool __hb##name##2(EMU_VAB) { return a.x op b.x && a.y op b.y; }
EMU_16X2_COMPARE(eq, ==)
EMU_16X2_COMPARE(ne, !=)
EMU_16X2_COMPARE(lt, <)
EMU_16X2_COMPARE(le, <=)
EMU_16X2_COMPARE(gt, >)
EMU_16X2_COMPARE(ge, >=)
#undef EMU_16X2_COMPARE

#undef EMU_16
#undef EMU_16X2
#undef EMU_A
#undef EMU_AB
#undef EMU_VA
#undef EMU_VAB

using Half = Float16<HalfFormat>;
using Bfloat16 = Float16<Bfloat16Format>;

}  // namespace emu
