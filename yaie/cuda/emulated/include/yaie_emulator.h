// Everything a .cu file sees without an #include when g++ or clang++ compiles it for the emulator: the CUDA keywords,
// the built-in vector types and functions, and the kernel launch. `rewrite.py` puts this header first.
#pragma once
#define YAIE_EMULATOR 1
#define __CUDACC__ 1

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

#include "interface.h"

#define __global__
#define __device__
#define __host__
// Far apart, so that what lies between belongs to none; and `used`, for g++ does not check what it takes for constant.
#define __constant__ static __attribute__((aligned(65536), used))
#define __managed__
#define __grid_constant__
#define __noinline__ __attribute__((noinline))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_assume(condition) ((void)0)

#include "vector_types.h"

// rewrite.py turns the built-in variables into these calls.
inline uint3 emu_threadIdx() { auto i = emu_thread_index(); return {i.x, i.y, i.z}; }
inline uint3 emu_blockIdx() { auto i = emu_block_index(); return {i.x, i.y, i.z}; }
inline dim3 emu_blockDim() { auto i = emu_block_dim(); return {i.x, i.y, i.z}; }
inline dim3 emu_gridDim() { auto i = emu_grid_dim(); return {i.x, i.y, i.z}; }
constexpr int warpSize = 32;

// Default argument that records where the function was called.
#define EMU_SITE emu::Site site = emu::Site::here()

#include "cuda_runtime.h"
#include "device_functions.h"

namespace emu {

// `__shared__ T a[n]` becomes a reference to an array that the runtime lays out, once per block, between red zones.
template <class Array, size_t align>
inline Array& shared(const void* key, const char* name, Site site) {
  return *static_cast<Array*>(emu_static_shared(key, sizeof(Array), std::max(align, alignof(Array)), name, site));
}

// `extern __shared__ T a[]` at file scope: the address exists only while a block runs.
template <class T>
struct DynamicShared {
  const char* name;
  operator T*() const { return static_cast<T*>(emu_dynamic_shared(name)); }
  template <class U>
  explicit operator U*() const { return static_cast<U*>(emu_dynamic_shared(name)); }
};

// `kernel<<<grid, block, shared, stream>>>(arguments)` becomes launch("kernel", lambda, site, grid, ...)(arguments).
template <class Kernel>
struct Launch {
  const char* name;
  Kernel kernel;
  Site site;
  dim3 grid, block;
  size_t dynamic_shared;

  template <class... Arguments>
  void operator()(Arguments... arguments) {
    struct Packed {
      Kernel kernel;
      std::tuple<Arguments...> arguments;
    };
    void* space = emu_argument_space(sizeof(Packed), site);
    if (!space) return;
    auto* packed = ::new (space) Packed{kernel, std::tuple<Arguments...>(arguments...)};
    auto invoke = [](void* p) {
      auto* q = static_cast<Packed*>(p);
      std::apply(q->kernel, q->arguments);
    };
    LaunchRequest request{name, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, dynamic_shared, invoke, packed, site};
    emu_launch(&request);
    packed->~Packed();
  }
};

template <class Kernel>
Launch<Kernel> launch(const char* name, Kernel kernel, Site site, dim3 grid, dim3 block, size_t shared = 0,
                      cudaStream_t = nullptr) {
  return {name, kernel, site, grid, block, shared};
}

}  // namespace emu

// Stands for exit() and abort(), which would take Python with them.
namespace emu {
struct Ends {
  const char* message;
  Site site;
  template <class... Arguments>
  [[noreturn]] void operator()(Arguments...) const {
    emu_exit(message, site);
  }
};
}  // namespace emu
namespace std { namespace emu = ::emu; }  // for std::exit

// Python may show its output elsewhere than on C's stdout, so the runtime collects the text and Python prints it.
namespace std { using ::emu_printf; }
#define printf(...) emu_printf(__VA_ARGS__)
#undef assert
#define assert(condition) ((condition) ? (void)0 : emu_trap("assert(" #condition ")", emu::Site::here()))
