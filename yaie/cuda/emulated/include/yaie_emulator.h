// Everything a .cu file sees without an #include when g++ or clang++ compiles it for the emulator: the CUDA keywords,
// the built-in vector types and functions, and the kernel launch. `rewrite.py` puts this header first.
#pragma once
#define YAIE_EMULATOR 1
#define __CUDACC__ 1

#include <cstddef>
// Without C++17's special functions (std::riemann_zeta), which are the host's: g++ read their templates for each file
// anew, used or not: a fifth of compiling a small kernel.
#undef _GLIBCXX_USE_STD_SPEC_FUNCS

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

#include "interface.h"

// The words __global__, __device__, __shared__ and so on are none of the preprocessor's: rewrite.py reads them.
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_assume(condition) ((void)0)
#define EMU_INLINE inline __attribute__((always_inline))

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
#include "cuda_runtime_api.h"
#include "device_functions.h"
#include "device_math.h"

namespace emu {

// `__shared__ T a[n]` becomes a reference to an array that the runtime lays out, once per block, between red zones.
template <class Array, size_t align>
inline Array& shared(const void* key, const char* name, Site site) {
  return *static_cast<Array*>(emu_static_shared(key, sizeof(Array), std::max(align, alignof(Array)), name, site));
}

// What rewrite.py puts before the body of each loop in device code. In check mode clang++ would take what is the same in
// each turn out of the loop, and what it moves has no line any more; g++ leaves it its line.
inline void forget_memory() { asm volatile("" ::: "memory"); }
constexpr EMU_INLINE bool turn() {
#if defined(__clang__)
  if (__has_feature(thread_sanitizer) && !__builtin_is_constant_evaluated()) forget_memory();
#endif
  return false;
}

// What stands between <<< and >>>. The kernel that is called while it lives takes it, as on a card: arguments are
// evaluated in between, and may launch kernels of their own.
struct Launch {
  const char* name;
  Site site;
  dim3 grid, block;
  size_t dynamic_shared;
  cudaStream_t stream;
  bool taken = false;
  Launch* outer;
  static inline Launch* pending = nullptr;

  Launch(const char* name_, Site site_, dim3 grid_, dim3 block_, size_t shared = 0, cudaStream_t stream_ = nullptr)
      : name(name_), site(site_), grid(grid_), block(block_), dynamic_shared(shared), stream(stream_), outer(pending) {
    pending = this;
  }
  ~Launch() { pending = outer; }
  Launch(const Launch&) = delete;
};

// A kernel's arguments, as they were at its launch. A std::tuple is slow to compile, anew for each list of types.
template <size_t, class T>
struct Argument {
  T value;
};
template <class Indices, class... Parameters>
struct Packed;
template <size_t... i, class... Parameters>
struct Packed<std::index_sequence<i...>, Parameters...> : Argument<i, Parameters>... {
  void (*body)(Parameters...);

  static void invoke(void* packed) {
    auto* p = static_cast<Packed*>(packed);
    p->body(static_cast<Argument<i, Parameters>*>(p)->value...);
  }
};

// What a kernel does when it is called: `body` is what its braces held, and runs once for each thread. A parameter that
// is a reference goes on referring to the host's memory, as on a card.
template <class... Parameters, class... Arguments>
void run_kernel(void (*body)(Parameters...), Site site, Arguments&&... arguments) {
  Launch* launch = Launch::pending;
  if (!launch || launch->taken) return emu_trap("a kernel is called like a function; launch it with <<<grid, block>>>", site);
  launch->taken = true;
  using Kept = Packed<std::index_sequence_for<Parameters...>, Parameters...>;
  void* space = emu_argument_space(sizeof(Kept), launch->site);
  if (!space) return;
  auto* kept = ::new (space) Kept{{arguments}..., body};
  dim3 g = launch->grid, b = launch->block;
  LaunchRequest request{launch->name, {g.x, g.y, g.z}, {b.x, b.y, b.z}, launch->dynamic_shared, launch->stream, &Kept::invoke,
                        kept, launch->site};
  emu_launch(&request);
  kept->~Kept();
}

}  // namespace emu

// By cudaLaunchKernel, if the compiler knows the kernel's type.
template <class... Parameters>
cudaError_t cudaLaunchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, void** arguments, size_t shared = 0,
                             cudaStream_t stream = nullptr, EMU_SITE) {
  emu::Launch launch("cudaLaunchKernel", site, grid, block, shared, stream);
  emu::call_with(kernel, arguments, std::index_sequence_for<Parameters...>());
  return cudaPeekAtLastError();
}

// A launcher is called from outside of C++, so what it throws would end the program there.
namespace emu {
[[noreturn]] inline void uncaught(const char* what, Site site) {
  char text[512];
  snprintf(text, sizeof text, "nobody catches what the launcher throws: %s", what);
  emu_exit(text, site);
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

// Python may show its output elsewhere than on C's stdout, so the runtime collects the text and Python prints it;
// rewrite.py calls emu_printf where printf is called.
namespace std { using ::emu_printf; }

#include "assert.h"
