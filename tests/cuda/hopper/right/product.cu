// Products of a warpgroup of tiles that TMA has loaded.
#include "yaie_hopper.cuh"

// C[64, 64] = A[64, K] B[64, K]^T, one tile of 64 x 64 at a time, 128-byte swizzle.
__global__ void __launch_bounds__(128) product_kernel(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b, float* c, int k) {
  __shared__ __align__(1024) __half tile_a[64 * 64];
  __shared__ __align__(1024) __half tile_b[64 * 64];
  __shared__ uint64_t full;
  if (threadIdx.x == 0) {
    yaie::mbarrier_init(&full, 1);
    yaie::fence_mbarrier_init();
  }
  __syncthreads();
  float d[32];
  for (int i = 0; i < 32; ++i) d[i] = 0.0f;
  for (int k0 = 0; k0 < k; k0 += 64) {
    if (threadIdx.x == 0) {
      yaie::mbarrier_arrive_expect_tx(&full, sizeof tile_a + sizeof tile_b);
      yaie::tma_load(tile_a, &a, &full, k0, 0);
      yaie::tma_load(tile_b, &b, &full, k0, 0);
    }
    yaie::mbarrier_wait(&full, k0 / 64 & 1);
    yaie::wgmma_fence();
    for (int step = 0; step < 4; ++step) {
      const uint64_t da = yaie::wgmma_descriptor(tile_a + step * 16, 16, 1024, yaie::SWIZZLE_128B);
      const uint64_t db = yaie::wgmma_descriptor(tile_b + step * 16, 16, 1024, yaie::SWIZZLE_128B);
      yaie::wgmma_ss<__half, 64>(d, da, db, true);
    }
    yaie::wgmma_commit();
    yaie::wgmma_wait<0>();
    __syncthreads();
  }
  const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
  for (int i = 0; i < 32; ++i) c[(row + i / 2 % 2 * 8) * 64 + i / 4 * 8 + column + i % 2] = d[i];
}
extern "C" int product(const __half* a, const __half* b, float* c, int k, cudaStream_t stream) {
  CUtensorMap map_a, map_b;
  if (auto error = yaie::tensor_map(&map_a, a, {uint64_t(k), 64}, {uint64_t(k) * 2}, {64, 64}, CU_TENSOR_MAP_SWIZZLE_128B)) return error;
  if (auto error = yaie::tensor_map(&map_b, b, {uint64_t(k), 64}, {uint64_t(k) * 2}, {64, 64}, CU_TENSOR_MAP_SWIZZLE_128B)) return error;
  product_kernel<<<1, 128, 0, stream>>>(map_a, map_b, c, k);
  return cudaGetLastError();
}
