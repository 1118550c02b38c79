// More of the host side of the CUDA runtime: two-dimensional copies, what memory is left, launches by function.
#pragma once
#include "yaie_emulator.h"

// ---- memory
static inline cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                                       size_t height, cudaMemcpyKind kind, EMU_SITE) {
  if (width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
  for (size_t row = 0; row < height; ++row) {
    cudaError_t error = cudaMemcpy(static_cast<char*>(to) + row * to_pitch,
                                   static_cast<const char*>(from) + row * from_pitch, width, kind, site);
    if (error) return error;
  }
  return cudaSuccess;
}
static inline cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                                            size_t height, cudaMemcpyKind kind, cudaStream_t = nullptr, EMU_SITE) {
  return cudaMemcpy2D(to, to_pitch, from, from_pitch, width, height, kind, site);
}
static inline cudaError_t cudaMemset2D(void* to, size_t pitch, int value, size_t width, size_t height, EMU_SITE) {
  if (width > pitch) return cudaErrorInvalidValue;
  for (size_t row = 0; row < height; ++row) {
    cudaError_t error = cudaMemset(static_cast<char*>(to) + row * pitch, value, width, site);
    if (error) return error;
  }
  return cudaSuccess;
}
template <class T>
cudaError_t cudaMallocPitch(T** pointer, size_t* pitch, size_t width, size_t height) {
  *pitch = (width + 511) / 512 * 512;
  return cudaMalloc(pointer, *pitch * height);
}
static inline cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = *total = size_t(80) << 30;  // an H100's
  return cudaSuccess;
}
template <class T>
cudaError_t cudaGetSymbolAddress(void** pointer, const T& symbol) {
  *pointer = const_cast<void*>(static_cast<const void*>(&symbol));
  return cudaSuccess;
}
template <class T>
cudaError_t cudaGetSymbolSize(size_t* bytes, const T&) { *bytes = sizeof(T); return cudaSuccess; }
// Host memory is host memory here: nothing is copied while something else runs, so pinning it changes nothing.
template <class T>
cudaError_t cudaMallocHost(T** pointer, size_t bytes, unsigned = 0) {
  *pointer = static_cast<T*>(malloc(bytes));
  return *pointer || !bytes ? cudaSuccess : cudaErrorMemoryAllocation;
}
template <class T>
cudaError_t cudaHostAlloc(T** pointer, size_t bytes, unsigned flags) { return cudaMallocHost(pointer, bytes, flags); }
static inline cudaError_t cudaFreeHost(void* pointer) { free(pointer); return cudaSuccess; }
static inline cudaError_t cudaHostRegister(void*, size_t, unsigned) { return cudaSuccess; }
static inline cudaError_t cudaHostUnregister(void*) { return cudaSuccess; }
enum : unsigned {
  cudaHostAllocDefault = 0,
  cudaHostAllocPortable = 1,
  cudaHostAllocWriteCombined = 4,
  cudaHostRegisterDefault = 0
};

// ---- the device
static inline cudaError_t cudaDeviceReset() { return cudaSuccess; }
static inline cudaError_t cudaDriverGetVersion(int* version) { *version = 13000; return cudaSuccess; }
static inline cudaError_t cudaRuntimeGetVersion(int* version) { *version = 13000; return cudaSuccess; }
static inline cudaError_t cudaDeviceSetCacheConfig(cudaFuncCache) { return cudaSuccess; }
static inline cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) { return cudaStreamCreate(stream); }
static inline cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0, *greatest = -5;
  return cudaSuccess;
}
static inline cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream = nullptr, unsigned = 0) {
  return cudaEventRecord(event, stream);
}

struct cudaFuncAttributes {
  size_t sharedSizeBytes, constSizeBytes, localSizeBytes;
  int maxThreadsPerBlock, numRegs, ptxVersion, binaryVersion, maxDynamicSharedSizeBytes;
};
// A CPU build knows no registers.
template <class Function>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Function) {
  *attributes = cudaFuncAttributes{0, 0, 0, 1024, 0, 90, 90, emu::kSharedPerBlock};
  return cudaSuccess;
}

// ---- launches by function: as <<< >>>, if the compiler knows the kernel's type
namespace emu {
template <class... Parameters, size_t... i>
void call_with(void (*kernel)(Parameters...), void** arguments, std::index_sequence<i...>) {
  kernel(*static_cast<std::remove_reference_t<Parameters>*>(arguments[i])...);
}
}  // namespace emu
