// Tensor cores: mma and ldmatrix (fragment layouts: PTX ISA, "Matrix fragments for mma.m16n8k16").
#include "../include/float16.h"
#include "runtime.h"

using namespace emu;

// The 16 numbers of a row of A, or of a column of B, from the registers of the four lanes that hold them: register
// `first` of each holds two of the first eight numbers, register `second` two of the last eight.
template <class Number>
static void collect(float* out, const unsigned char* lanes, unsigned first_lane, unsigned first, unsigned second) {
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned registers[2] = {first, second};
    for (unsigned part = 0; part < 2; ++part) {
      uint32_t pair = payload<uint32_t>(lanes, first_lane + i, registers[part] * 4);
      Number low, high;
      low.bits = static_cast<uint16_t>(pair);
      high.bits = static_cast<uint16_t>(pair >> 16);
      out[part * 8 + i * 2] = low;
      out[part * 8 + i * 2 + 1] = high;
    }
  }
}

template <class Number>
static void multiply(float* d, const float* c, const unsigned char* lanes) {
  unsigned lane = emu_lane(), group = lane / 4, in_group = lane % 4;
  float a[2][16], b[2][16], result[4] = {c[0], c[1], c[2], c[3]};
  for (unsigned half = 0; half < 2; ++half) {
    collect<Number>(a[half], lanes, group * 4, half, half + 2);           // row group + 8 * half
    collect<Number>(b[half], lanes, (in_group * 2 + half) * 4, 4, 5);  // column 2 * in_group + half
  }
  for (unsigned k = 0; k < 16; ++k) {
    for (unsigned i = 0; i < 4; ++i) result[i] += a[i / 2][k] * b[i % 2][k];
  }
  memcpy(d, result, sizeof result);
}

EXPORT void emu_mma_m16n8k16(int type, float* d, const uint32_t* a, const uint32_t* b, const float* c, Site site) {
  uint32_t in[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const unsigned char* lanes = meet(WarpOp::kMma, ~0u, in, sizeof in, site);
  if (emu_lane() == 0 && (current_engine->checks & kCounters)) ++session.tensor_core_calls, ++counter_of_warp()->products;
  if (type == kMatrixHalf) multiply<Half>(d, c, lanes);
  else multiply<Bfloat16>(d, c, lanes);
}

namespace emu {
// Called by emu_ldmatrix (access.cpp) once the rows' addresses have been checked.
void gather_matrices(uint32_t* registers, const void* row, int matrices, bool transposed, Site site) {
  const unsigned char* lanes = meet(WarpOp::kLdmatrix, ~0u, &row, sizeof row, site);
  unsigned lane = emu_lane();
  for (int m = 0; m < matrices; ++m) {
    uint32_t packed = 0;
    for (unsigned half = 0; half < 2; ++half) {
      unsigned r = lane / 4, c = lane % 4 * 2 + half;
      if (transposed) std::swap(r, c);
      packed |= uint32_t(payload<const uint16_t*>(lanes, unsigned(m) * 8 + r)[c]) << 16 * half;
    }
    registers[m] = packed;
  }
}
}  // namespace emu
