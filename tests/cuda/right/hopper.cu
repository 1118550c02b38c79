// Barriers in shared memory, TMA and wgmma as they are meant to be used.
#include "yaie_hopper.cuh"

using yaie::SWIZZLE_128B;

#define INIT(barrier, arrivals)                \
  if (threadIdx.x == 0) {                      \
    yaie::mbarrier_init(&barrier, arrivals);   \
    yaie::fence_mbarrier_init();               \
  }                                            \
  __syncthreads();
#define MAP(name, ...)                                                        \
  CUtensorMap name;                                                           \
  if (auto error = yaie::tensor_map(&name, __VA_ARGS__)) return error;

// ---- loads and stores of boxes of 1 to 5 dimensions

// A box at a place, copied into a tensor of the box's size, with zeros for what lies outside.
template <int RANK, int ELEMENTS>
__global__ void box_kernel(const __grid_constant__ CUtensorMap map, float* y, int c0, int c1, int c2, int c3, int c4) {
  __shared__ __align__(1024) float tile[ELEMENTS];
  __shared__ uint64_t full;
  INIT(full, 1)
  if (threadIdx.x == 0) {
    yaie::mbarrier_arrive_expect_tx(&full, sizeof tile);
    if constexpr (RANK == 1) yaie::tma_load(tile, &map, &full, c0);
    if constexpr (RANK == 2) yaie::tma_load(tile, &map, &full, c0, c1);
    if constexpr (RANK == 3) yaie::tma_load(tile, &map, &full, c0, c1, c2);
    if constexpr (RANK == 4) yaie::tma_load(tile, &map, &full, c0, c1, c2, c3);
    if constexpr (RANK == 5) yaie::tma_load(tile, &map, &full, c0, c1, c2, c3, c4);
  }
  yaie::mbarrier_wait(&full, 0);
  for (int i = threadIdx.x; i < ELEMENTS; i += blockDim.x) y[i] = tile[i];
}

// call: box_1(x=randn(100), y=zeros(32))
// want: y = F.pad(x[80:], (0, 12))
extern "C" int box_1(const float* x, float* y) {
  MAP(map, x, {100}, {}, {32}, CU_TENSOR_MAP_SWIZZLE_NONE)
  box_kernel<1, 32><<<1, 32>>>(map, y, 80, 0, 0, 0, 0);
  return cudaGetLastError();
}

// call: box_2(x=randn(12, 20), y=zeros(4, 8))
// want: y = F.pad(x[:2, 16:], (0, 4, 2, 0))
extern "C" int box_2(const float* x, float* y) {
  MAP(map, x, {20, 12}, {80}, {8, 4}, CU_TENSOR_MAP_SWIZZLE_NONE)
  box_kernel<2, 32><<<1, 64>>>(map, y, 16, -2, 0, 0, 0);
  return cudaGetLastError();
}

// call: box_3(x=randn(3, 5, 16), y=zeros(2, 4, 8))
// want: y = F.pad(x[2:, 3:, :4], (4, 0, 0, 2, 0, 1))
extern "C" int box_3(const float* x, float* y) {
  MAP(map, x, {16, 5, 3}, {64, 320}, {8, 4, 2}, CU_TENSOR_MAP_SWIZZLE_NONE)
  box_kernel<3, 64><<<1, 64>>>(map, y, -4, 3, 2, 0, 0);
  return cudaGetLastError();
}

// call: box_4(x=randn(2, 3, 5, 8), y=zeros(2, 2, 3, 4))
// want: y = x[:, 1:, 2:, 4:]
extern "C" int box_4(const float* x, float* y) {
  MAP(map, x, {8, 5, 3, 2}, {32, 160, 480}, {4, 3, 2, 2}, CU_TENSOR_MAP_SWIZZLE_NONE)
  box_kernel<4, 48><<<1, 64>>>(map, y, 4, 2, 1, 0, 0);
  return cudaGetLastError();
}

// call: box_5(x=randn(2, 2, 3, 3, 8), y=zeros(2, 1, 2, 2, 4))
// want: y = x[:, 1:, 1:, :2, 4:]
extern "C" int box_5(const float* x, float* y) {
  MAP(map, x, {8, 3, 3, 2, 2}, {32, 96, 288, 576}, {4, 2, 2, 1, 2}, CU_TENSOR_MAP_SWIZZLE_NONE)
  box_kernel<5, 32><<<1, 64>>>(map, y, 4, 0, 1, 1, 0);
  return cudaGetLastError();
}

// Through swizzled tiles: chunk c of row r lies where bits 4 to 6 of its address are changed with bits 7 to 9.
template <int SPAN>
__global__ void swizzle_kernel(const __grid_constant__ CUtensorMap map, float* y) {
  constexpr int COLUMNS = SPAN / 4;
  __shared__ __align__(1024) float tile[16 * COLUMNS];
  __shared__ uint64_t full;
  INIT(full, 1)
  if (threadIdx.x == 0) {
    yaie::mbarrier_arrive_expect_tx(&full, sizeof tile);
    yaie::tma_load(tile, &map, &full, 0, 0);
  }
  yaie::mbarrier_wait(&full, 0);
  for (int i = threadIdx.x; i < 16 * COLUMNS; i += blockDim.x) {
    const int at = i * 4, place = at ^ ((at >> 7 & (SPAN / 16 - 1)) << 4);
    y[i] = tile[place / 4];
  }
}

// call: swizzle_32(x=randn(16, 8), y=zeros(16, 8))
// want: y = x
extern "C" int swizzle_32(const float* x, float* y) {
  MAP(map, x, {8, 16}, {32}, {8, 16}, CU_TENSOR_MAP_SWIZZLE_32B)
  swizzle_kernel<32><<<1, 64>>>(map, y);
  return cudaGetLastError();
}

// call: swizzle_64(x=randn(16, 16), y=zeros(16, 16))
// want: y = x
extern "C" int swizzle_64(const float* x, float* y) {
  MAP(map, x, {16, 16}, {64}, {16, 16}, CU_TENSOR_MAP_SWIZZLE_64B)
  swizzle_kernel<64><<<1, 64>>>(map, y);
  return cudaGetLastError();
}

// call: swizzle_128(x=randn(16, 32), y=zeros(16, 32))
// want: y = x
extern "C" int swizzle_128(const float* x, float* y) {
  MAP(map, x, {32, 16}, {128}, {32, 16}, CU_TENSOR_MAP_SWIZZLE_128B)
  swizzle_kernel<128><<<1, 64>>>(map, y);
  return cudaGetLastError();
}

// call: doubled(x=randn(40, 32), y=zeros(40, 32))
// want: y = 2 * x
__global__ void doubled_kernel(const __grid_constant__ CUtensorMap from, const __grid_constant__ CUtensorMap to) {
  __shared__ __align__(1024) float tile[16 * 32];
  __shared__ uint64_t full;
  INIT(full, 1)
  for (int lap = 0; lap < 3; ++lap) {  // the last box goes past the end, and is cut there
    if (threadIdx.x == 0) {
      yaie::tma_store_wait_read<0>();
      yaie::mbarrier_arrive_expect_tx(&full, sizeof tile);
      yaie::tma_load(tile, &from, &full, 0, 16 * lap);
    }
    yaie::mbarrier_wait(&full, lap & 1);
    for (int i = threadIdx.x; i < 16 * 32; i += blockDim.x) tile[i] *= 2.0f;
    yaie::fence_proxy_async();
    __syncthreads();
    if (threadIdx.x == 0) {
      yaie::tma_store(&to, tile, 0, 16 * lap);
      yaie::tma_store_commit();
    }
  }
  if (threadIdx.x == 0) yaie::tma_store_wait<0>();
}
extern "C" int doubled(const float* x, float* y) {
  MAP(from, x, {32, 40}, {128}, {32, 16}, CU_TENSOR_MAP_SWIZZLE_128B)
  MAP(to, static_cast<const float*>(y), {32, 40}, {128}, {32, 16}, CU_TENSOR_MAP_SWIZZLE_128B)
  doubled_kernel<<<1, 64>>>(from, to);
  return cudaGetLastError();
}

// ---- products: C[64, N] = A[64, 64] B[N, 64]^T, or A[64, 64] B[64, N] with B MN-major

// Writes a thread's accumulators where they belong.
template <int N>
__device__ void write(const float (&d)[N / 2], float* c) {
  const int lane = threadIdx.x % 32, row = threadIdx.x % 128 / 32 * 16 + lane / 4, column = lane % 4 * 2;
  for (int i = 0; i < N / 2; ++i) c[(row + i / 2 % 2 * 8) * N + i / 4 * 8 + column + i % 2] = d[i];
}

// Tiles of K-major operands with a swizzle of SPAN bytes: 64 columns are 128 / SPAN parts, one behind the other.
template <typename T, int N, int SPAN>
__global__ void k_major_kernel(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b, float* c) {
  constexpr int COLUMNS = SPAN / 2, PARTS = 64 / COLUMNS;
  constexpr yaie::Swizzle SWIZZLE = SPAN == 128 ? yaie::SWIZZLE_128B : SPAN == 64 ? yaie::SWIZZLE_64B : yaie::SWIZZLE_32B;
  __shared__ __align__(1024) T tile_a[64 * 64];
  __shared__ __align__(1024) T tile_b[N * 64];
  __shared__ uint64_t full;
  INIT(full, 1)
  if (threadIdx.x == 0) {
    yaie::mbarrier_arrive_expect_tx(&full, sizeof tile_a + sizeof tile_b);
    for (int part = 0; part < PARTS; ++part) {
      yaie::tma_load(tile_a + part * 64 * COLUMNS, &a, &full, part * COLUMNS, 0);
      yaie::tma_load(tile_b + part * N * COLUMNS, &b, &full, part * COLUMNS, 0);
    }
  }
  float d[N / 2] = {};
  yaie::mbarrier_wait(&full, 0);
  yaie::wgmma_fence();
  for (int k = 0; k < 64; k += 16) {
    const int part = k / COLUMNS, within = k % COLUMNS;
    yaie::wgmma_ss<T, N>(d, yaie::wgmma_descriptor(tile_a + part * 64 * COLUMNS + within, 16, 8 * SPAN, SWIZZLE),
                         yaie::wgmma_descriptor(tile_b + part * N * COLUMNS + within, 16, 8 * SPAN, SWIZZLE), k > 0);
  }
  yaie::wgmma_commit();
  yaie::wgmma_wait<0>();
  write<N>(d, c);
}
template <typename T, int N, int SPAN>
int k_major(const T* a, const T* b, float* c, CUtensorMapSwizzle swizzle) {
  MAP(map_a, a, {64, 64}, {128}, {SPAN / 2, 64}, swizzle)
  MAP(map_b, b, {64, N}, {128}, {SPAN / 2, N}, swizzle)
  k_major_kernel<T, N, SPAN><<<1, 128>>>(map_a, map_b, c);
  return cudaGetLastError();
}

// call: product_128(a=randn_h(64, 64), b=randn_h(80, 64), c=zeros(64, 80))
// want: c = a.float() @ b.float().T
// tolerance: 1e-4
extern "C" int product_128(const __half* a, const __half* b, float* c) {
  return k_major<__half, 80, 128>(a, b, c, CU_TENSOR_MAP_SWIZZLE_128B);
}

// call: product_64(a=randn_b(64, 64), b=randn_b(256, 64), c=zeros(64, 256))
// want: c = a.float() @ b.float().T
// tolerance: 1e-4
extern "C" int product_64(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c) {
  return k_major<__nv_bfloat16, 256, 64>(a, b, c, CU_TENSOR_MAP_SWIZZLE_64B);
}

// call: product_32(a=randn_h(64, 64), b=randn_h(32, 64), c=zeros(64, 32))
// want: c = a.float() @ b.float().T
// tolerance: 1e-4
extern "C" int product_32(const __half* a, const __half* b, float* c) {
  return k_major<__half, 32, 32>(a, b, c, CU_TENSOR_MAP_SWIZZLE_32B);
}

// Without swizzle: blocks of 8 rows by 16 bytes, which threads lay down. Leading: to the next 8 of k; stride: of rows.
// call: product_0(a=randn_h(64, 16), b=randn_h(32, 16), c=zeros(64, 32))
// want: c = a.float() @ b.float().T
// tolerance: 1e-4
__global__ void product_0_kernel(const __half* a, const __half* b, float* c) {
  __shared__ __align__(128) __half tile_a[64 * 16];
  __shared__ __align__(128) __half tile_b[32 * 16];
  auto place = [](int r, int k, int rows) { return k / 8 * (rows * 8) + r * 8 + k % 8; };
  for (int i = threadIdx.x; i < 64 * 16; i += 128) tile_a[place(i / 16, i % 16, 64)] = a[i];
  for (int i = threadIdx.x; i < 32 * 16; i += 128) tile_b[place(i / 16, i % 16, 32)] = b[i];
  yaie::fence_proxy_async();
  __syncthreads();
  float d[16];
  yaie::wgmma_fence();
  yaie::wgmma_ss<__half, 32>(d, yaie::wgmma_descriptor(tile_a, 64 * 16, 128, yaie::SWIZZLE_NONE),
                             yaie::wgmma_descriptor(tile_b, 32 * 16, 128, yaie::SWIZZLE_NONE), false);
  yaie::wgmma_commit();
  yaie::wgmma_wait<0>();
  write<32>(d, c);
}
extern "C" int product_0(const __half* a, const __half* b, float* c) {
  product_0_kernel<<<1, 128>>>(a, b, c);
  return cudaGetLastError();
}

// B MN-major and A from registers, as attention has weights and values: two parts of 64 columns.
// call: weights_times_values(a=randn_b(64, 64), b=randn_b(64, 128), c=zeros(64, 128))
// want: c = a.float() @ b.float()
// tolerance: 1e-4
__global__ void weights_kernel(const __nv_bfloat16* a, const __grid_constant__ CUtensorMap b, float* c) {
  __shared__ __align__(1024) __nv_bfloat16 tile[64 * 128];
  __shared__ uint64_t full;
  INIT(full, 1)
  if (threadIdx.x == 0) {
    yaie::mbarrier_arrive_expect_tx(&full, sizeof tile);
    for (int part = 0; part < 2; ++part) yaie::tma_load(tile + part * 64 * 64, &b, &full, part * 64, 0);
  }
  uint32_t weights[4][4];
  const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4;
  for (int step = 0; step < 4; ++step) {
    for (int i = 0; i < 4; ++i) {
      const int column = step * 16 + lane % 4 * 2 + i / 2 * 8;
      weights[step][i] = *reinterpret_cast<const uint32_t*>(&a[(row + i % 2 * 8) * 64 + column]);
    }
  }
  float d[64] = {};
  yaie::mbarrier_wait(&full, 0);
  yaie::wgmma_fence();
  for (int step = 0; step < 4; ++step) {
    const uint64_t values = yaie::wgmma_descriptor(tile + step * 16 * 64, 64 * 128, 1024, SWIZZLE_128B);
    yaie::wgmma_rs<__nv_bfloat16, 128, true>(d, weights[step], values, true);
  }
  yaie::wgmma_commit();
  yaie::wgmma_wait<0>();
  write<128>(d, c);
}
extern "C" int weights_times_values(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c) {
  MAP(map, b, {128, 64}, {256}, {64, 64}, CU_TENSOR_MAP_SWIZZLE_128B)
  weights_kernel<<<1, 128>>>(a, map, c);
  return cudaGetLastError();
}

// Values in the other swizzles, and without one: parts of SPAN / 2 columns.
template <int SPAN>
__global__ void values_kernel(const __half* a, const __half* b, float* c) {
  constexpr int COLUMNS = SPAN / 2, MASK = SPAN == 16 ? 0 : SPAN / 16 - 1;
  constexpr yaie::Swizzle SWIZZLE = SPAN == 64 ? yaie::SWIZZLE_64B : SPAN == 32 ? yaie::SWIZZLE_32B : yaie::SWIZZLE_NONE;
  __shared__ __align__(1024) __half tile_a[64 * 16];
  __shared__ __align__(1024) __half tile_b[16 * 64];
  for (int i = threadIdx.x; i < 64 * 16; i += 128) tile_a[i % 16 / 8 * (64 * 8) + i / 16 * 8 + i % 8] = a[i];
  for (int i = threadIdx.x; i < 16 * 64; i += 128) {
    const int k = i / 64, n = i % 64, at = n / COLUMNS * (16 * SPAN) + k * SPAN + n % COLUMNS * 2;
    tile_b[(at ^ ((at >> 7 & MASK) << 4)) / 2] = b[i];
  }
  yaie::fence_proxy_async();
  __syncthreads();
  float d[32];
  // Without swizzle the two offsets change places.
  const unsigned columns = 16 * SPAN, rows = 8 * SPAN;
  yaie::wgmma_fence();
  yaie::wgmma_ss<__half, 64, true>(d, yaie::wgmma_descriptor(tile_a, 64 * 16, 128, yaie::SWIZZLE_NONE),
                                   yaie::wgmma_descriptor(tile_b, MASK ? columns : rows, MASK ? rows : columns, SWIZZLE), false);
  yaie::wgmma_commit();
  yaie::wgmma_wait<0>();
  write<64>(d, c);
}
// call: values_64(a=randn_h(64, 16), b=randn_h(16, 64), c=zeros(64, 64))
// want: c = a.float() @ b.float()
// tolerance: 1e-4
extern "C" int values_64(const __half* a, const __half* b, float* c) {
  values_kernel<64><<<1, 128>>>(a, b, c);
  return cudaGetLastError();
}
// call: values_32(a=randn_h(64, 16), b=randn_h(16, 64), c=zeros(64, 64))
// want: c = a.float() @ b.float()
// tolerance: 1e-4
extern "C" int values_32(const __half* a, const __half* b, float* c) {
  values_kernel<32><<<1, 128>>>(a, b, c);
  return cudaGetLastError();
}
// call: values_0(a=randn_h(64, 16), b=randn_h(16, 64), c=zeros(64, 64))
// want: c = a.float() @ b.float()
// tolerance: 1e-4
extern "C" int values_0(const __half* a, const __half* b, float* c) {
  values_kernel<16><<<1, 128>>>(a, b, c);
  return cudaGetLastError();
}

// ---- roles

// A producer warpgroup and two consumers, a ring of two stages; registers are given up and taken; each consumer has 64
// rows of A[128, K], and its products of one tile are in flight while it waits for the next.
// call: pipeline(a=randn_h(128, 256), b=randn_h(64, 256), c=zeros(128, 64))
// want: c = a.float() @ b.float().T
// tolerance: 1e-3
__global__ void __launch_bounds__(384, 1) pipeline_kernel(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b,
                                                       float* c, int k) {
  extern __shared__ __align__(1024) __half memory[];
  constexpr int A = 128 * 64, STAGE = A + 64 * 64;
  __shared__ uint64_t full[2], empty[2];
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < 2; ++stage) {
      yaie::mbarrier_init(&full[stage], 1);
      yaie::mbarrier_init(&empty[stage], 2);
    }
    yaie::fence_mbarrier_init();
  }
  __syncthreads();
  const int group = threadIdx.x / 128, laps = k / 64;
  if (group == 0) {
    yaie::setmaxnreg_dec<24>();
    for (int lap = 0; lap < laps && threadIdx.x == 0; ++lap) {
      const int stage = lap % 2;
      yaie::mbarrier_wait(&empty[stage], (lap / 2 & 1) ^ 1);
      yaie::mbarrier_arrive_expect_tx(&full[stage], STAGE * 2);
      yaie::tma_load(memory + stage * STAGE, &a, &full[stage], lap * 64, 0);
      yaie::tma_load(memory + stage * STAGE + A, &b, &full[stage], lap * 64, 0);
    }
    return;
  }
  yaie::setmaxnreg_inc<240>();
  float d[32] = {};
  for (int lap = 0; lap < laps; ++lap) {
    const int stage = lap % 2;
    const __half* tile = memory + stage * STAGE;
    yaie::mbarrier_wait(&full[stage], lap / 2 & 1);
    yaie::wgmma_fence();
    for (int step = 0; step < 4; ++step) {
      yaie::wgmma_ss<__half, 64>(d, yaie::wgmma_descriptor(tile + (group - 1) * 64 * 64 + step * 16, 16, 1024, SWIZZLE_128B),
                                 yaie::wgmma_descriptor(tile + A + step * 16, 16, 1024, SWIZZLE_128B), true);
    }
    yaie::wgmma_commit();
    if (lap > 0) {
      yaie::wgmma_wait<1>();
      if (threadIdx.x % 128 == 0) yaie::mbarrier_arrive(&empty[1 - stage]);
    }
  }
  yaie::wgmma_wait<0>();
  yaie::wgmma_keep(d);
  write<64>(d, c + (group - 1) * 64 * 64);
}
extern "C" int pipeline(const __half* a, const __half* b, float* c) {
  MAP(map_a, a, {256, 128}, {512}, {64, 128}, CU_TENSOR_MAP_SWIZZLE_128B)
  MAP(map_b, b, {256, 64}, {512}, {64, 64}, CU_TENSOR_MAP_SWIZZLE_128B)
  const int bytes = 2 * (128 * 64 + 64 * 64) * 2;
  pipeline_kernel<<<1, 384, bytes>>>(map_a, map_b, c, 256);
  return cudaGetLastError();
}

// Two warpgroups in turn, by two named barriers: each adds its number to a sum that both keep in shared memory.
// call: turns(y=zeros(256))
// want: y = torch.tensor([4.0] * 128 + [6.0] * 128)
__global__ void turns_kernel(float* y) {
  __shared__ float sums[128];
  const int group = threadIdx.x / 128, lane = threadIdx.x % 128;
  if (group == 0) sums[lane] = 0.0f;
  if (group == 0) yaie::named_barrier_sync(3, 128);
  if (group == 1) yaie::named_barrier_arrive(1, 256);
  float mine = 0.0f;
  for (int turn = 0; turn < 2; ++turn) {
    yaie::named_barrier_sync(1 + group, 256);
    mine = sums[127 - lane] += 1.0f + turn;
    yaie::named_barrier_arrive(2 - group, 256);
  }
  if (group == 0) yaie::named_barrier_sync(1, 256);
  y[threadIdx.x] = mine;
}
extern "C" int turns(float* y) {
  turns_kernel<<<1, 256>>>(y);
  return cudaGetLastError();
}

// A tile that threads copy by cp.async, each arriving when its own have landed; the reader fences, and multiplies.
// call: copied(a=randn_h(64, 16), b=randn_h(32, 16), c=zeros(64, 32))
// want: c = a.float() @ b.float().T
// tolerance: 1e-4
__global__ void copied_kernel(const __half* a, const __half* b, float* c) {
  __shared__ __align__(128) __half tile_a[64 * 16];
  __shared__ __align__(128) __half tile_b[32 * 16];
  __shared__ uint64_t full;
  INIT(full, 32)
  if (threadIdx.x >= 128) {
    for (int i = threadIdx.x - 128; i < 96 * 2; i += 32) {
      const int row = i / 2, half = i % 2;
      if (row < 64) yaie::cp_async_16(tile_a + half * 64 * 8 + row * 8, a + row * 16 + half * 8);
      else yaie::cp_async_16(tile_b + half * 32 * 8 + (row - 64) * 8, b + (row - 64) * 16 + half * 8);
    }
    yaie::mbarrier_expect_cp_async(&full);
    yaie::mbarrier_arrive(&full);
    return;
  }
  yaie::mbarrier_wait(&full, 0);
  yaie::fence_proxy_async();
  float d[16];
  yaie::wgmma_fence();
  yaie::wgmma_ss<__half, 32>(d, yaie::wgmma_descriptor(tile_a, 64 * 16, 128, yaie::SWIZZLE_NONE),
                            yaie::wgmma_descriptor(tile_b, 32 * 16, 128, yaie::SWIZZLE_NONE), false);
  yaie::wgmma_commit();
  yaie::wgmma_wait<0>();
  write<32>(d, c);
}
extern "C" int copied(const __half* a, const __half* b, float* c) {
  copied_kernel<<<1, 160>>>(a, b, c);
  return cudaGetLastError();
}

// One thread of a warp waits, and the warp meets; arrivals of all threads; an element that goes round the warps.
// call: relay(y=zeros(128))
// want: y = torch.full((128,), 3.0)
__global__ void relay_kernel(float* y) {
  __shared__ uint64_t passed[4];
  __shared__ int value;
  if (threadIdx.x == 0) {
    for (auto& each : passed) yaie::mbarrier_init(&each, 32);
    yaie::fence_mbarrier_init();
    value = 0;
  }
  __syncthreads();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (warp > 0) {
    if (lane == 0) yaie::mbarrier_wait(&passed[warp - 1], 0);
    __syncwarp();
    if (lane == 5) value += 1;
    __syncwarp();
  }
  yaie::mbarrier_arrive(&passed[warp]);
  yaie::mbarrier_wait(&passed[3], 0);
  y[threadIdx.x] = value;
}
extern "C" int relay(float* y) {
  relay_kernel<<<1, 128>>>(y);
  return cudaGetLastError();
}

// Rows that nobody wrote may be read if nobody looks at what comes of them: rows 8 to 63 of A.
// call: partly_filled(b=randn_h(32, 16), c=zeros(8, 32))
// want: c = torch.ones(8, 16) @ b.float().T
// tolerance: 1e-4
__global__ void partly_filled_kernel(const __half* b, float* c) {
  __shared__ __align__(128) __half tile_a[64 * 16];
  __shared__ __align__(128) __half tile_b[32 * 16];
  for (int i = threadIdx.x; i < 8 * 16; i += 128) tile_a[i / 64 * (64 * 8) + i % 64] = __float2half(1.0f);
  for (int i = threadIdx.x; i < 32 * 16; i += 128) tile_b[i % 16 / 8 * (32 * 8) + i / 16 * 8 + i % 8] = b[i];
  yaie::fence_proxy_async();
  __syncthreads();
  float d[16];
  yaie::wgmma_fence();
  yaie::wgmma_ss<__half, 32>(d, yaie::wgmma_descriptor(tile_a, 64 * 16, 128, yaie::SWIZZLE_NONE),
                            yaie::wgmma_descriptor(tile_b, 32 * 16, 128, yaie::SWIZZLE_NONE), false);
  yaie::wgmma_commit();
  yaie::wgmma_wait<0>();
  const int row = threadIdx.x / 4, column = threadIdx.x % 4 * 2;
  for (int n = 0; n < 4 && threadIdx.x < 32; ++n) {
    c[row * 32 + n * 8 + column] = d[n * 4];
    c[row * 32 + n * 8 + column + 1] = d[n * 4 + 1];
  }
}
extern "C" int partly_filled(const __half* b, float* c) {
  partly_filled_kernel<<<1, 128>>>(b, c);
  return cudaGetLastError();
}
