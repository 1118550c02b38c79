// What Hopper added, as functions: barriers in shared memory, copies of tiles (TMA), products by a warpgroup (wgmma).
// So one .cu file runs on a card and in the emulator. On a card it must be compiled for sm_90a.
//
// Barriers, each a uint64_t in shared memory. A phase of one completes when as many arrivals have come as it was made
// for, and all bytes that were announced; the phases have parity 0, 1, 0, ...
//   mbarrier_init(barrier, arrivals)              by one thread; then fence_mbarrier_init() and a barrier of the block.
//   mbarrier_arrive(barrier)                      one arrival.
//   mbarrier_arrive_expect_tx(barrier, bytes)     one arrival, and this phase waits for so many bytes more.
//   mbarrier_expect_cp_async(barrier)             this phase waits for the cp.async of this thread, too: before it arrives.
//   mbarrier_wait(barrier, parity)                until the last phase of this parity has completed.
//   named_barrier_sync(id, threads), _arrive      barriers 1 to 15 for some warps: wait there, or only be counted.
//   setmaxnreg_inc<n>(), setmaxnreg_dec<n>()      registers of each thread from now on; by all warps of a warpgroup.
//   fence_proxy_async()                           what this thread wrote to shared memory is there for TMA and wgmma.
//
// TMA: a copy of a box of a tensor of 1 to 5 dimensions, innermost first, which one thread starts.
//   tensor_map(&map, base, sizes, strides, box, swizzle)   on the host; strides in bytes, without the innermost one.
//   tma_prefetch_map(&map)
//   tma_load(shared, &map, barrier, c0, ...)      the box at these coordinates; its bytes complete at the barrier.
//   tma_store(&map, shared, c0, ...); tma_store_commit(); tma_store_wait<n>(), tma_store_wait_read<n>()
//
// wgmma: D[64xN] += A[64x16] B[16xN] in fp32, by the 128 threads of a warpgroup, asynchronous. Thread t of it has in
// d[i] the row 16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2) and the column 8 * (i / 4) + 2 * (t % 4) + i % 2.
//   wgmma_descriptor(shared, leading_bytes, stride_bytes, swizzle)   where an operand lies in shared memory.
//   wgmma_ss<T, N, B_MN_MAJOR>(d, a, b, accumulate)   A and B by descriptors; without accumulate D starts at 0.
//   wgmma_rs<T, N, B_MN_MAJOR>(d, a, b, accumulate)   A in registers, as mma_m16n8k16 has it.
//   wgmma_fence()       before the first of a group, and whenever threads have touched d or a since.
//   wgmma_commit(); wgmma_wait<n>()   closes a group; waits until at most n groups are in flight.
//   wgmma_keep(registers)   the compiler moves no use of these across: after the wait, and before the fence.
#pragma once
#include <cuda.h>
#include <cuda_runtime.h>

#include <initializer_list>
#include <type_traits>

#include "yaie_ptx.cuh"

namespace yaie {
enum Swizzle { SWIZZLE_NONE = 0, SWIZZLE_128B = 1, SWIZZLE_64B = 2, SWIZZLE_32B = 3 };
}

#if defined(YAIE_EMULATOR)
#include "emulated_hopper.h"
#else
namespace yaie {

__device__ __forceinline__ void mbarrier_init(uint64_t* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void mbarrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive_expect_tx(uint64_t* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
__device__ __forceinline__ void mbarrier_wait(uint64_t* barrier, unsigned parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(shared_address(barrier)), "r"(parity) : "memory");
}
__device__ __forceinline__ void mbarrier_expect_cp_async(uint64_t* barrier) {
  asm volatile("cp.async.mbarrier.arrive.shared::cta.b64 [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
template <int registers>
__device__ __forceinline__ void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ __forceinline__ void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ __forceinline__ void tma_prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// The load and the store of one number of dimensions; `at` names the coordinates' operands.
#define YAIE_TMA(dimensions, at_load, at_store, parameters, ...)                                                    \
  __device__ __forceinline__ void tma_load(void* shared, const CUtensorMap* map, uint64_t* barrier, parameters) {   \
    asm volatile("cp.async.bulk.tensor." dimensions                                                                 \
                 ".shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {" at_load "}], [%2];"       \
                 ::"r"(shared_address(shared)), "l"(map), "r"(shared_address(barrier)), __VA_ARGS__ : "memory");    \
  }                                                                                                                 \
  __device__ __forceinline__ void tma_store(const CUtensorMap* map, const void* shared, parameters) {               \
    asm volatile("cp.async.bulk.tensor." dimensions ".global.shared::cta.tile.bulk_group [%0, {" at_store "}], [%1];" \
                 ::"l"(map), "r"(shared_address(shared)), __VA_ARGS__ : "memory");                                  \
  }
#define YAIE_COMMA ,
YAIE_TMA("1d", "%3", "%2", int c0, "r"(c0))
YAIE_TMA("2d", "%3, %4", "%2, %3", int c0 YAIE_COMMA int c1, "r"(c0), "r"(c1))
YAIE_TMA("3d", "%3, %4, %5", "%2, %3, %4", int c0 YAIE_COMMA int c1 YAIE_COMMA int c2, "r"(c0), "r"(c1), "r"(c2))
YAIE_TMA("4d", "%3, %4, %5, %6", "%2, %3, %4, %5", int c0 YAIE_COMMA int c1 YAIE_COMMA int c2 YAIE_COMMA int c3,
         "r"(c0), "r"(c1), "r"(c2), "r"(c3))
YAIE_TMA("5d", "%3, %4, %5, %6, %7", "%2, %3, %4, %5, %6",
         int c0 YAIE_COMMA int c1 YAIE_COMMA int c2 YAIE_COMMA int c3 YAIE_COMMA int c4,
         "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4))
#undef YAIE_COMMA
#undef YAIE_TMA
__device__ __forceinline__ void tma_store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
template <int groups_left>
__device__ __forceinline__ void tma_store_wait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(groups_left) : "memory");
}
template <int groups_left>
__device__ __forceinline__ void tma_store_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(groups_left) : "memory");
}

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int groups_left>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(groups_left) : "memory");
}
template <int N>
__device__ __forceinline__ void wgmma_keep(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    asm volatile("" : "+f"(d[i])::"memory");
  }
}
template <int N>
__device__ __forceinline__ void wgmma_keep(uint32_t (&a)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    asm volatile("" : "+r"(a[i])::"memory");
  }
}

// Bits 0-13 the address, 16-29 the leading offset, 32-45 the stride, each in units of 16 bytes; 62-63 the swizzle.
__device__ __forceinline__ uint64_t wgmma_descriptor(const void* shared, unsigned leading_bytes, unsigned stride_bytes,
                                                     Swizzle swizzle) {
  auto field = [](unsigned bytes) { return static_cast<uint64_t>((bytes & 0x3ffff) >> 4); };
  return field(shared_address(shared)) | field(leading_bytes) << 16 | field(stride_bytes) << 32 |
         static_cast<uint64_t>(swizzle) << 62;
}

// The registers of D, and their operands, by eights.
#define YAIE_R0 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define YAIE_R32 YAIE_R0
#define YAIE_R64 YAIE_R32 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define YAIE_R80 YAIE_R64 ",%32,%33,%34,%35,%36,%37,%38,%39"
#define YAIE_R96 YAIE_R80 ",%40,%41,%42,%43,%44,%45,%46,%47"
#define YAIE_R128 YAIE_R96 ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define YAIE_R176 \
  YAIE_R128 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87"
#define YAIE_R192 YAIE_R176 ",%88,%89,%90,%91,%92,%93,%94,%95"
#define YAIE_R256                                                                                               \
  YAIE_R192 ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115," \
            "%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define YAIE_D(i)                                                                                               \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define YAIE_D32 YAIE_D(0), YAIE_D(8)
#define YAIE_D64 YAIE_D32, YAIE_D(16), YAIE_D(24)
#define YAIE_D80 YAIE_D64, YAIE_D(32)
#define YAIE_D96 YAIE_D80, YAIE_D(40)
#define YAIE_D128 YAIE_D96, YAIE_D(48), YAIE_D(56)
#define YAIE_D176 YAIE_D128, YAIE_D(64), YAIE_D(72), YAIE_D(80)
#define YAIE_D192 YAIE_D176, YAIE_D(88)
#define YAIE_D256 YAIE_D192, YAIE_D(96), YAIE_D(104), YAIE_D(112), YAIE_D(120)

// The products of one N and type. n0 to n6: the numbers of the operands behind D.
#define YAIE_WGMMA(T, type, N, n0, n1, n2, n3, n4, n5, n6)                                                          \
  template <int B_MN_MAJOR>                                                                                         \
  __device__ __forceinline__ void wgmma(const T*, float (&d)[N / 2], uint64_t a, uint64_t b, int accumulate) {      \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #n2 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N              \
                 "k16.f32." type "." type " {" YAIE_R##N "}, %" #n0 ", %" #n1 ", p, 1, 1, 0, %" #n3 ";\n}"          \
                 : YAIE_D##N : "l"(a), "l"(b), "r"(accumulate), "n"(B_MN_MAJOR));                                   \
  }                                                                                                                 \
  template <int B_MN_MAJOR>                                                                                         \
  __device__ __forceinline__ void wgmma(const T*, float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b,            \
                                        int accumulate) {                                                           \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #n5 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N              \
                 "k16.f32." type "." type " {" YAIE_R##N "}, {%" #n0 ", %" #n1 ", %" #n2 ", %" #n3 "}, %" #n4       \
                 ", p, 1, 1, %" #n6 ";\n}"                                                                          \
                 : YAIE_D##N : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate),                 \
                   "n"(B_MN_MAJOR));                                                                                \
  }
#define YAIE_WGMMA_BOTH(...)                                      \
  YAIE_WGMMA(__half, "f16", __VA_ARGS__)                          \
  YAIE_WGMMA(__nv_bfloat16, "bf16", __VA_ARGS__)
YAIE_WGMMA_BOTH(32, 16, 17, 18, 19, 20, 21, 22)
YAIE_WGMMA_BOTH(64, 32, 33, 34, 35, 36, 37, 38)
YAIE_WGMMA_BOTH(80, 40, 41, 42, 43, 44, 45, 46)
YAIE_WGMMA_BOTH(96, 48, 49, 50, 51, 52, 53, 54)
YAIE_WGMMA_BOTH(128, 64, 65, 66, 67, 68, 69, 70)
YAIE_WGMMA_BOTH(176, 88, 89, 90, 91, 92, 93, 94)
YAIE_WGMMA_BOTH(192, 96, 97, 98, 99, 100, 101, 102)
YAIE_WGMMA_BOTH(256, 128, 129, 130, 131, 132, 133, 134)
#undef YAIE_WGMMA_BOTH
#undef YAIE_WGMMA

template <typename T, int N, bool B_MN_MAJOR = false>
__device__ __forceinline__ void wgmma_ss(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
  wgmma<B_MN_MAJOR>(static_cast<const T*>(nullptr), d, a, b, accumulate);
}
template <typename T, int N, bool B_MN_MAJOR = false>
__device__ __forceinline__ void wgmma_rs(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  wgmma<B_MN_MAJOR>(static_cast<const T*>(nullptr), d, a, b, accumulate);
}

// The driver's function, found at run time: nothing links against libcuda. nullptr: this driver has none.
inline auto encode_tiled() -> decltype(&cuTensorMapEncodeTiled) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result;
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
  return error == cudaSuccess && result == cudaDriverEntryPointSuccess
             ? reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found)
             : nullptr;
}

}  // namespace yaie
#endif

namespace yaie {

template <typename T>
constexpr CUtensorMapDataType tensor_map_type() {
  static_assert(std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16> || std::is_same_v<T, float> ||
                    std::is_same_v<T, int>,
                "a tensor map is of __half, __nv_bfloat16, float or int");
  return std::is_same_v<T, __half>          ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
         : std::is_same_v<T, __nv_bfloat16> ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
         : std::is_same_v<T, float>         ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
                                            : CU_TENSOR_MAP_DATA_TYPE_INT32;
}

// The map of a tensor whose innermost elements are contiguous. cudaErrorInvalidValue: TMA cannot do this: a size or a
// stride of 0, strides that are no multiple of 16 bytes, a box beyond 256 elements or wider than its swizzle, ...
template <typename T>
inline __attribute__((always_inline)) cudaError_t tensor_map(CUtensorMap* map, const T* base,
                                                             std::initializer_list<uint64_t> sizes,
                                                             std::initializer_list<uint64_t> strides,
                                                             std::initializer_list<uint32_t> box,
                                                             CUtensorMapSwizzle swizzle) {
  const auto encode = encode_tiled();
  if (encode == nullptr) {
    return cudaErrorNotSupported;
  }
  const auto dimensions = static_cast<cuuint32_t>(sizes.size());
  if (dimensions < 1 || dimensions > 5 || box.size() != dimensions || strides.size() + 1 != dimensions) {
    return cudaErrorInvalidValue;
  }
  cuuint64_t size[5] = {}, stride[5] = {};
  cuuint32_t wanted[5] = {}, ones[5] = {1, 1, 1, 1, 1};
  for (cuuint32_t i = 0; i < dimensions; ++i) {
    size[i] = sizes.begin()[i];
    wanted[i] = box.begin()[i];
    if (i + 1 < dimensions) {
      stride[i] = strides.begin()[i];
    }
  }
  const CUresult result =
      encode(map, tensor_map_type<T>(), dimensions, const_cast<T*>(base), size, stride, wanted, ones,
             CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace yaie
