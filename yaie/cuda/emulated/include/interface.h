// The C interface between a kernel compiled for the emulator and the emulator's runtime.
// Both sides include this file, so the two cannot drift apart.
#pragma once
#include <cstddef>
#include <cstdint>

// g++ fills this in for __builtin_source_location(); C++20 brings its own.
#if __cplusplus >= 202002L
#include <source_location>
#elif !defined(__clang__)
namespace std {
struct source_location {
  struct __impl {
    const char *_M_file_name, *_M_function_name;
    unsigned _M_line, _M_column;
  };
};
}  // namespace std
#endif

namespace emu {

// A place in the user's source, taken where a barrier or warp function is called. Memory accesses need no Site:
// their return address is mapped to a line through the debug information. A barrier does, because the compiler may
// merge two calls into one and a barrier's identity is its line and column. (All calls of one macro share a column.)
struct Site {
  const char* file;
  int line, column;
#if defined(__clang__)
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE(),
                             int column = __builtin_COLUMN()) {
    return {file, line, column};
  }
#else
  using Where = std::source_location::__impl;
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE(),
                             const Where* where = static_cast<const Where*>(__builtin_source_location())) {
    return {file, line, static_cast<int>(where->_M_column)};
  }
#endif
};

struct Index3 {
  unsigned x, y, z;
};

enum AccessKind { kRead, kWrite, kAtomic };
enum AtomicOp { kUpdate, kExchange, kCompare };
enum BarrierOp { kBarrier, kBarrierCount, kBarrierAnd, kBarrierOr };
enum ShuffleHow { kShuffleIndex, kShuffleUp, kShuffleDown, kShuffleXor };
enum ReduceOp { kReduceAdd, kReduceMin, kReduceMax, kReduceAnd, kReduceOr, kReduceXor };
enum FenceScope { kFenceBlock, kFenceDevice };
enum MatrixType { kMatrixHalf, kMatrixBfloat16 };

// What a CUtensorMap holds here: a tensor in global memory and the box that one copy of the tensor memory accelerator moves.
struct alignas(64) TensorMap {
  uint64_t base, sizes[5], strides[5];  // elements; bytes from one to the next
  uint32_t box[5];                      // elements in shared memory
  uint8_t steps[5], rank, item, swizzle;
};
static_assert(sizeof(TensorMap) == 128, "as large as the driver's");

// One wgmma, as each of the 128 threads issues it.
struct Wgmma {
  int type, columns;
  bool b_mn_major, a_in_registers, accumulate;
  float* d;
  const uint32_t* a;
  uint64_t a_descriptor, b_descriptor;
};

struct LaunchRequest {
  const char* kernel;
  Index3 grid, block;
  size_t dynamic_shared;
  const void* stream;
  void (*invoke)(void* arguments);  // runs the kernel body for the calling thread
  void* arguments;
  Site site;
};

}  // namespace emu

extern "C" {
// Within one CUDA thread these never change, so `const` lets the compiler keep them in registers.
emu::Index3 emu_thread_index() __attribute__((const));
emu::Index3 emu_block_index() __attribute__((const));
emu::Index3 emu_block_dim() __attribute__((const));
emu::Index3 emu_grid_dim() __attribute__((const));
unsigned emu_lane() __attribute__((const));

void* emu_dynamic_shared(const char* name);
void* emu_static_shared(const void* key, size_t bytes, size_t align, const char* name, emu::Site site);

int emu_barrier(int op, int predicate, emu::Site site);
void emu_syncwarp(unsigned mask, emu::Site site);
void emu_shuffle(int how, unsigned mask, void* value, unsigned bytes, int operand, int width, emu::Site site);
unsigned emu_ballot(unsigned mask, int predicate, emu::Site site);
unsigned emu_match(unsigned mask, const void* value, unsigned bytes, emu::Site site);
unsigned emu_reduce(int op, bool is_signed, unsigned mask, unsigned value, emu::Site site);
unsigned emu_active_mask(emu::Site site);
void emu_fence(int scope);
void emu_pause();

void emu_note_atomic(const void* address, unsigned bytes, int op);

void emu_cp_async(void* shared, const void* global, unsigned bytes, unsigned source_bytes);
void emu_cp_async_commit();
void emu_cp_async_wait(unsigned groups_left);
void emu_ldmatrix(uint32_t* registers, const void* row, int matrices, bool transposed, emu::Site site);
void emu_mma_m16n8k16(int type, float* d, const uint32_t* a, const uint32_t* b, const float* c, emu::Site site);

// Hopper: barriers in shared memory, the tensor memory accelerator, wgmma.
int emu_note_hopper(const void* of_the_module);
void emu_mbarrier_init(uint64_t* barrier, unsigned arrivals, emu::Site site);
void emu_fence_mbarrier_init();
void emu_mbarrier_arrive(uint64_t* barrier, unsigned bytes, emu::Site site);
void emu_mbarrier_wait(uint64_t* barrier, unsigned parity, emu::Site site);
void emu_mbarrier_expect_cp_async(uint64_t* barrier, emu::Site site);
void emu_named_barrier(int id, int threads, bool waits, emu::Site site);
void emu_setmaxnreg(int registers, bool more, emu::Site site);
void emu_fence_proxy_async();
int emu_tensor_map(emu::TensorMap* map, int type, unsigned rank, const void* base, const uint64_t* sizes, const uint64_t* strides,
                   const uint32_t* box, const uint32_t* steps, int interleave, int swizzle, int fill);
void emu_tma_load(void* shared, const emu::TensorMap* map, uint64_t* barrier, const int* at, unsigned rank, emu::Site site);
void emu_tma_store(const emu::TensorMap* map, const void* shared, const int* at, unsigned rank, emu::Site site);
void emu_tma_store_commit();
void emu_tma_store_wait(unsigned groups_left);
void emu_wgmma_fence();
void emu_wgmma(const emu::Wgmma* operation, emu::Site site);
void emu_wgmma_commit();
void emu_wgmma_wait(unsigned groups_left, emu::Site site);
uint64_t emu_wgmma_descriptor(const void* shared, unsigned leading_bytes, unsigned stride_bytes, unsigned swizzle);

void emu_launch(const emu::LaunchRequest* request);
void* emu_argument_space(size_t bytes, emu::Site site);
int emu_last_error(bool clear);
void emu_allow_shared(const void* function, int bytes);
void* emu_device_malloc(size_t bytes, const char* name);
bool emu_device_free(void* pointer);
void* emu_stream_create();
bool emu_stream_destroy(void* stream);
void emu_copy(void* destination, const void* source, size_t bytes, int kind, emu::Site site);
void emu_fill(void* destination, int value, size_t bytes, emu::Site site);
void emu_trap(const char* message, emu::Site site);
[[noreturn]] void emu_exit(const char* message, emu::Site site);
long long emu_clock();
int emu_printf(const char* format, ...) __attribute__((format(printf, 1, 2)));
}
