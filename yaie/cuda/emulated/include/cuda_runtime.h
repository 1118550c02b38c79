// The host side of the CUDA runtime, as far as it means something on a CPU: a launch has finished when it returns,
// there is one device, streams keep order because everything is in order, and events measure the emulator's own time.
#pragma once
#include "yaie_emulator.h"

enum cudaError : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchTimeout = 702,
  cudaErrorAssert = 710,
  cudaErrorMisalignedAddress = 716,
  cudaErrorLaunchFailure = 719,
  cudaErrorNotSupported = 801,
};
typedef cudaError cudaError_t;
typedef struct CUstream_st* cudaStream_t;
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
enum cudaFuncCache { cudaFuncCachePreferNone, cudaFuncCachePreferShared, cudaFuncCachePreferL1, cudaFuncCachePreferEqual };
enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1,
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrWarpSize = 10,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
enum : unsigned {
  cudaStreamDefault = 0,
  cudaStreamNonBlocking = 1,
  cudaEventDefault = 0,
  cudaEventBlockingSync = 1,
  cudaEventDisableTiming = 2
};

// The figures of an H100, so that a launcher which sizes its grid by the device behaves as it would there.
namespace emu {
constexpr int kProcessors = 132, kThreadsPerProcessor = 2048, kBlocksPerProcessor = 32;
constexpr int kSharedPerProcessor = 233472, kSharedPerBlock = 49152, kSharedPerBlockOptin = 232448;
}  // namespace emu

struct CUevent_st {
  long long nanoseconds;
};
typedef CUevent_st* cudaEvent_t;

static inline const char* cudaGetErrorName(cudaError_t e) {
  switch (e) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorLaunchTimeout: return "cudaErrorLaunchTimeout";
    case cudaErrorAssert: return "cudaErrorAssert";
    case cudaErrorMisalignedAddress: return "cudaErrorMisalignedAddress";
    case cudaErrorNotSupported: return "cudaErrorNotSupported";
    default: return "cudaErrorLaunchFailure";
  }
}
static inline const char* cudaGetErrorString(cudaError_t e) { return e ? cudaGetErrorName(e) : "no error"; }
static inline cudaError_t cudaGetLastError() { return static_cast<cudaError_t>(emu_last_error(true)); }
static inline cudaError_t cudaPeekAtLastError() { return static_cast<cudaError_t>(emu_last_error(false)); }
static inline cudaError_t cudaDeviceSynchronize() { return cudaPeekAtLastError(); }

// ---- memory
template <class T>
cudaError_t cudaMalloc(T** pointer, size_t bytes) {
  *pointer = static_cast<T*>(emu_device_malloc(bytes, "cudaMalloc"));
  return *pointer || !bytes ? cudaSuccess : cudaErrorMemoryAllocation;
}
static inline cudaError_t cudaFree(void* pointer) {
  return emu_device_free(pointer) ? cudaSuccess : cudaErrorInvalidValue;
}
template <class T>
cudaError_t cudaMallocAsync(T** pointer, size_t bytes, cudaStream_t) { return cudaMalloc(pointer, bytes); }
static inline cudaError_t cudaFreeAsync(void* pointer, cudaStream_t) { return cudaFree(pointer); }
static inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, EMU_SITE) {
  emu_copy(to, from, bytes, kind, site);
  return cudaPeekAtLastError();
}
static inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes,
                                          cudaMemcpyKind kind, cudaStream_t = nullptr, EMU_SITE) {
  return cudaMemcpy(to, from, bytes, kind, site);
}
static inline cudaError_t cudaMemset(void* to, int value, size_t bytes, EMU_SITE) {
  emu_fill(to, value, bytes, site);
  return cudaPeekAtLastError();
}
static inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t = nullptr, EMU_SITE) {
  return cudaMemset(to, value, bytes, site);
}
template <class T>
cudaError_t cudaMemcpyToSymbol(T& symbol, const void* from, size_t bytes, size_t offset = 0,
                               cudaMemcpyKind kind = cudaMemcpyHostToDevice, EMU_SITE) {
  if (offset + bytes > sizeof(T)) return cudaErrorInvalidValue;
  return cudaMemcpy(reinterpret_cast<char*>(&symbol) + offset, from, bytes, kind, site);
}
template <class T>
cudaError_t cudaMemcpyToSymbolAsync(T& symbol, const void* from, size_t bytes, size_t offset, cudaMemcpyKind kind,
                                    cudaStream_t = nullptr, EMU_SITE) {
  return cudaMemcpyToSymbol(symbol, from, bytes, offset, kind, site);
}
template <class T>
cudaError_t cudaMemcpyFromSymbol(void* to, const T& symbol, size_t bytes, size_t offset = 0,
                                 cudaMemcpyKind kind = cudaMemcpyDeviceToHost, EMU_SITE) {
  if (offset + bytes > sizeof(T)) return cudaErrorInvalidValue;
  return cudaMemcpy(to, reinterpret_cast<const char*>(&symbol) + offset, bytes, kind, site);
}

// ---- streams and events: everything is already in order and finished
static inline cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = static_cast<cudaStream_t>(emu_stream_create());
  return cudaSuccess;
}
static inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }
static inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return emu_stream_destroy(stream) ? cudaSuccess : cudaErrorInvalidResourceHandle;
}
static inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaPeekAtLastError(); }
static inline cudaError_t cudaStreamQuery(cudaStream_t) { return cudaPeekAtLastError(); }
static inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned = 0) { return cudaSuccess; }
static inline cudaError_t cudaEventCreate(cudaEvent_t* event) { *event = new CUevent_st{0}; return cudaSuccess; }
static inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return cudaEventCreate(event); }
static inline cudaError_t cudaEventDestroy(cudaEvent_t event) { delete event; return cudaSuccess; }
static inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t = nullptr) {
  event->nanoseconds = emu_clock();
  return cudaSuccess;
}
static inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaPeekAtLastError(); }
static inline cudaError_t cudaEventQuery(cudaEvent_t) { return cudaPeekAtLastError(); }
static inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  *milliseconds = static_cast<float>(stop->nanoseconds - start->nanoseconds) * 1e-6f;
  return cudaSuccess;
}

// ---- device and kernel attributes
struct cudaDeviceProp {
  char name[256];
  int multiProcessorCount, warpSize, maxThreadsPerBlock, maxThreadsPerMultiProcessor, major, minor, regsPerBlock;
  int maxThreadsDim[3], maxGridSize[3], clockRate, l2CacheSize;
  size_t sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor, totalGlobalMem, totalConstMem;
};
static inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (device != 0) return cudaErrorInvalidDevice;
  *p = cudaDeviceProp{};
  strcpy(p->name, "yaie CPU emulator");
  p->multiProcessorCount = emu::kProcessors;
  p->warpSize = 32;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsPerMultiProcessor = emu::kThreadsPerProcessor;
  p->major = 9;
  p->regsPerBlock = 65536;
  for (int i = 0; i < 3; ++i) p->maxThreadsDim[i] = i < 2 ? 1024 : 64, p->maxGridSize[i] = i ? 65535 : 2147483647;
  p->sharedMemPerBlock = emu::kSharedPerBlock;
  p->sharedMemPerBlockOptin = emu::kSharedPerBlockOptin;
  p->sharedMemPerMultiprocessor = emu::kSharedPerProcessor;
  p->totalConstMem = 65536;
  return cudaSuccess;
}
static inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device != 0) return cudaErrorInvalidDevice;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = emu::kSharedPerBlock; break;
    case cudaDevAttrWarpSize: *value = 32; break;
    case cudaDevAttrMultiProcessorCount: *value = emu::kProcessors; break;
    case cudaDevAttrComputeCapabilityMajor: *value = 9; break;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = emu::kSharedPerProcessor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = emu::kSharedPerBlockOptin; break;
    default: return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}
static inline cudaError_t cudaGetDevice(int* device) { *device = 0; return cudaSuccess; }
static inline cudaError_t cudaSetDevice(int device) { return device ? cudaErrorInvalidDevice : cudaSuccess; }
static inline cudaError_t cudaGetDeviceCount(int* count) { *count = 1; return cudaSuccess; }

template <class Function>
cudaError_t cudaFuncSetAttribute(Function function, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || value > emu::kSharedPerBlockOptin) return cudaErrorInvalidValue;
  emu_allow_shared(reinterpret_cast<const void*>(function), value);
  return cudaSuccess;
}
template <class Function>
cudaError_t cudaFuncSetCacheConfig(Function, cudaFuncCache) { return cudaSuccess; }

// Bounded by threads, blocks and dynamic shared memory only: a CPU build knows no register count.
template <class Function>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function, int threads, size_t shared) {
  if (threads < 1 || threads > 1024) return cudaErrorInvalidValue;
  *blocks = std::min({emu::kThreadsPerProcessor / ((threads + 31) / 32 * 32), emu::kBlocksPerProcessor,
                      static_cast<int>(emu::kSharedPerProcessor / (shared + 1024))});
  return cudaSuccess;
}
template <class Function>
cudaError_t cudaOccupancyMaxPotentialBlockSize(int* grid, int* block, Function, size_t shared = 0, int limit = 0) {
  *block = limit > 0 && limit < 1024 ? limit / 32 * 32 : 1024;
  int per_processor = 0;
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, 0, *block, shared);
  *grid = per_processor * emu::kProcessors;
  return cudaSuccess;
}
