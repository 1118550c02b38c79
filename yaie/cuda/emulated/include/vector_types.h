// float2 .. ulonglong4, dim3 and their make_ functions.
#pragma once

// A 16-byte vector must be loaded as one access, as on the card. g++ keeps a struct copy whole (-fno-tree-sra);
// clang splits it, so there the type is copied as a native vector. (It cannot be one: those take no operators of the
// user's, and no list of values as an argument.)
#if defined(__clang__)
#define EMU_WIDE(T, name, n, align)                                                                                      \
  struct __attribute__((aligned(align))) name {                                                                          \
    EMU_MEMBERS_##n(T);                                                                                                  \
    name() = default;                                                                                                    \
    constexpr EMU_CONSTRUCTOR_##n(T, name);                                                                              \
    __attribute__((always_inline)) name(const name& other) { *this = other; }                                            \
    __attribute__((always_inline)) name& operator=(const name& other) {                                                  \
      constexpr int wide = n * sizeof(T) < 16 ? n : 16 / sizeof(T);                                                      \
      typedef T Part __attribute__((ext_vector_type(wide)));                                                             \
      for (int i = 0; i < n; i += wide) *(Part*)(&x + i) = *(const Part*)(&other.x + i);                                 \
      return *this;                                                                                                      \
    }                                                                                                                    \
  }
#else
#define EMU_WIDE(T, name, n, align) struct __attribute__((aligned(align))) name { EMU_MEMBERS_##n(T); }
#endif
#define EMU_MEMBERS_2(T) T x, y
#define EMU_MEMBERS_4(T) T x, y, z, w
#define EMU_CONSTRUCTOR_2(T, name) name(T x_, T y_) : x(x_), y(y_) {}
#define EMU_CONSTRUCTOR_4(T, name) name(T x_, T y_, T z_ = {}, T w_ = {}) : x(x_), y(y_), z(z_), w(w_) {}

#define EMU_VECTOR(T, base, align2, align4)                                                        \
  struct base##1 { T x; };                                                                         \
  EMU_WIDE(T, base##2, 2, align2);                                                                 \
  struct base##3 { T x, y, z; };                                                                   \
  EMU_WIDE(T, base##4, 4, align4);                                                                 \
  static inline base##1 make_##base##1(T x) { return base##1{x}; }                                 \
  static inline base##2 make_##base##2(T x, T y) { return base##2{x, y}; }                         \
  static inline base##3 make_##base##3(T x, T y, T z) { return base##3{x, y, z}; }                 \
  static inline base##4 make_##base##4(T x, T y, T z, T w) { return base##4{x, y, z, w}; }

EMU_VECTOR(signed char, char, 2, 4)
EMU_VECTOR(unsigned char, uchar, 2, 4)
EMU_VECTOR(short, short, 4, 8)
EMU_VECTOR(unsigned short, ushort, 4, 8)
EMU_VECTOR(int, int, 8, 16)
EMU_VECTOR(unsigned, uint, 8, 16)
EMU_VECTOR(long, long, 16, 16)
EMU_VECTOR(unsigned long, ulong, 16, 16)
EMU_VECTOR(long long, longlong, 16, 16)
EMU_VECTOR(unsigned long long, ulonglong, 16, 16)
EMU_VECTOR(float, float, 8, 16)
EMU_VECTOR(double, double, 16, 16)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  operator uint3() const { return {x, y, z}; }
};
