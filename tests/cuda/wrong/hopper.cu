// What is wrong with barriers in shared memory, TMA and wgmma. Brothers: each wait left out, of another barrier, of
// another parity; each release too early; each fence; each count, in arrivals, bytes, threads and registers.
#include "yaie_hopper.cuh"

using yaie::SWIZZLE_128B;
constexpr int TILE = 64 * 64, TILE_BYTES = TILE * 2;

// Macros, so that each line below is that of its kernel.
#define TILES                                     \
  __shared__ __align__(1024) __half a[TILE];      \
  __shared__ __align__(1024) __half b[TILE];      \
  __shared__ uint64_t full, empty;
#define INIT(fillers, emptiers)                   \
  if (threadIdx.x == 0) {                         \
    yaie::mbarrier_init(&full, fillers);          \
    yaie::mbarrier_init(&empty, emptiers);        \
    yaie::fence_mbarrier_init();                  \
  }                                               \
  __syncthreads();
#define LOAD(tile, at)                                                                                 \
  if (threadIdx.x == 0) {                                                                              \
    yaie::mbarrier_arrive_expect_tx(&full, TILE_BYTES);                                                \
    yaie::tma_load(tile, &map, &full, at, 0);                                                          \
  }
#define FILL(tile, value) \
  for (int i = threadIdx.x; i < TILE; i += blockDim.x) tile[i] = __float2half(value);
#define OPERAND(tile) yaie::wgmma_descriptor(tile, 16, 1024, SWIZZLE_128B)
#define MULTIPLY(d) yaie::wgmma_ss<__half, 64>(d, OPERAND(a), OPERAND(a), true)
#define FINISH(d) yaie::wgmma_commit(), yaie::wgmma_wait<0>(), y[threadIdx.x] = d[0]
#define KERNEL(name) __global__ void name##_kernel(const __grid_constant__ CUtensorMap map, const __half* x, float* y)
#define LAUNCH(name, threads)                                                                                             \
  extern "C" int name(const __half* x, float* y) {                                                                        \
    CUtensorMap map;                                                                                                      \
    if (auto error = yaie::tensor_map(&map, x, {128, 64}, {256}, {64, 64}, CU_TENSOR_MAP_SWIZZLE_128B)) return error;     \
    name##_kernel<<<1, threads>>>(map, x, y);                                                                             \
    return cudaGetLastError();                                                                                            \
  }

// ---- a tile used before it is there

// expect: tma_not_waited a
// call: no_wait(randn_h(64, 128), zeros(128))
KERNEL(no_wait) {
  TILES INIT(1, 1)
  LOAD(a, 0)  // OTHER
  __syncthreads();
  y[threadIdx.x] = __half2float(a[threadIdx.x]);  // HERE
}
LAUNCH(no_wait, 128)

// expect: tma_not_waited a
// because: The wait for parity 1 passed at once
// call: wrong_parity(randn_h(64, 128), zeros(128))
KERNEL(wrong_parity) {
  TILES INIT(1, 1)
  LOAD(a, 0)  // OTHER
  yaie::mbarrier_wait(&full, 1);
  y[threadIdx.x] = __half2float(a[threadIdx.x]);  // HERE
}
LAUNCH(wrong_parity, 128)

// expect: tma_not_waited a
// call: never_flips(randn_h(64, 128), zeros(128))
KERNEL(never_flips) {
  TILES INIT(1, 1)
  float sum = 0;
  for (int lap = 0; lap < 2; ++lap) {
    LOAD(a, 64 * lap)  // OTHER
    yaie::mbarrier_wait(&full, 0);
    sum += __half2float(a[threadIdx.x]);  // HERE
    __syncthreads();
  }
  y[threadIdx.x] = sum;
}
LAUNCH(never_flips, 128)

// expect: tma_not_waited a
// call: one_waits(randn_h(64, 128), zeros(128))
KERNEL(one_waits) {
  TILES INIT(1, 1)
  LOAD(a, 0)  // OTHER
  if (threadIdx.x == 0) yaie::mbarrier_wait(&full, 0);
  y[threadIdx.x] = __half2float(a[threadIdx.x]);  // HERE
}
LAUNCH(one_waits, 128)

// expect: tma_not_waited a
// call: product_too_early(randn_h(64, 128), zeros(128))
KERNEL(product_too_early) {
  TILES INIT(1, 1)
  LOAD(a, 0)  // OTHER
  float d[32] = {};
  yaie::wgmma_fence();
  MULTIPLY(d);  // HERE
  FINISH(d);
  yaie::mbarrier_wait(&full, 0);
}
LAUNCH(product_too_early, 128)

// expect: tma_not_waited b
// because: its last wait was for `full`
// call: other_barrier(randn_h(64, 128), zeros(128))
KERNEL(other_barrier) {
  TILES INIT(1, 1)
  LOAD(a, 0)
  if (threadIdx.x == 0) {
    yaie::mbarrier_arrive_expect_tx(&empty, TILE_BYTES);
    yaie::tma_load(b, &map, &empty, 64, 0);  // OTHER
  }
  yaie::mbarrier_wait(&full, 0);
  y[threadIdx.x] = __half2float(a[threadIdx.x]) + __half2float(b[threadIdx.x]);  // HERE
}
LAUNCH(other_barrier, 128)

// expect: tma_not_waited a
// call: overwrites(randn_h(64, 128), zeros(128))
KERNEL(overwrites) {
  TILES INIT(1, 1)
  LOAD(a, 0)  // OTHER
  a[threadIdx.x] = __float2half(1.0f);  // HERE
  yaie::mbarrier_wait(&full, 0);
  y[threadIdx.x] = __half2float(a[threadIdx.x + 128]);
}
LAUNCH(overwrites, 128)

// expect: tma_not_waited b
// because: and this load is not among them
// call: bytes_of_one(randn_h(64, 128), zeros(128))
KERNEL(bytes_of_one) {
  TILES INIT(1, 1)
  if (threadIdx.x == 0) {
    yaie::mbarrier_arrive_expect_tx(&full, TILE_BYTES);
    yaie::tma_load(a, &map, &full, 0, 0);
    yaie::tma_load(b, &map, &full, 64, 0);  // OTHER
  }
  yaie::mbarrier_wait(&full, 0);
  y[threadIdx.x] = __half2float(b[threadIdx.x]);  // HERE
}
LAUNCH(bytes_of_one, 128)

// expect: tma_not_waited a
// call: never_used(randn_h(64, 128), zeros(128))
KERNEL(never_used) {
  TILES INIT(1, 1)
  y[threadIdx.x] = 1.0f;
  LOAD(a, 0)  // HERE
}
LAUNCH(never_used, 128)

// ---- a tile refilled while others read it

// expect: refilled a
// call: no_empty(randn_h(64, 128), zeros(128))
KERNEL(no_empty) {
  TILES INIT(1, 128)
  if (threadIdx.x < 32) {
    for (int lap = 0; lap < 2; ++lap) {
      if (lap == 1) yaie::mbarrier_wait(&full, 0);
      LOAD(a, 64 * lap)  // HERE
    }
  } else {
    float sum = 0;
    for (int lap = 0; lap < 2; ++lap) {
      yaie::mbarrier_wait(&full, lap);
      sum += __half2float(a[threadIdx.x]);  // OTHER
    }
    y[threadIdx.x] = sum;
  }
}
LAUNCH(no_empty, 160)

// A ring of one stage: warp 0 fills it, warps 1 to 4 read it. `release` is where a reader lets go.
#define PRODUCE(first_parity)                          \
  for (int lap = 0; lap < 3; ++lap) {                  \
    yaie::mbarrier_wait(&empty, (lap & 1) ^ (first_parity)); \
    LOAD(a, 64 * (lap & 1))                            \
  }

// expect: refilled a
// call: released_unread(randn_h(64, 128), zeros(160))
KERNEL(released_unread) {
  TILES INIT(1, 128)
  if (threadIdx.x < 32) {
    PRODUCE(1)  // HERE
  } else {
    float sum = 0;
    for (int lap = 0; lap < 3; ++lap) {
      yaie::mbarrier_wait(&full, lap & 1);
      yaie::mbarrier_arrive(&empty);
      sum += __half2float(a[threadIdx.x]);  // OTHER
    }
    y[threadIdx.x] = sum;
  }
}
LAUNCH(released_unread, 160)

// expect: refilled a
// call: released_in_flight(randn_h(64, 128), zeros(160))
KERNEL(released_in_flight) {
  TILES INIT(1, 1)
  if (threadIdx.x >= 128) {
    const int first = 128;
    for (int lap = 0; lap < 3; ++lap) {
      if (threadIdx.x != first) continue;
      yaie::mbarrier_wait(&empty, (lap & 1) ^ 1);
      yaie::mbarrier_arrive_expect_tx(&full, TILE_BYTES);
      yaie::tma_load(a, &map, &full, 0, 0);  // HERE
    }
  } else {
    float d[32] = {};
    for (int lap = 0; lap < 3; ++lap) {
      yaie::mbarrier_wait(&full, lap & 1);
      yaie::wgmma_fence();
      MULTIPLY(d);  // OTHER
      yaie::wgmma_commit();
      if (threadIdx.x == 0) yaie::mbarrier_arrive(&empty);
      yaie::wgmma_wait<0>();
    }
    y[threadIdx.x] = d[0];
  }
}
LAUNCH(released_in_flight, 160)

// expect: refilled a
// call: empty_parity(randn_h(64, 128), zeros(160))
KERNEL(empty_parity) {
  TILES INIT(1, 128)
  if (threadIdx.x < 32) {
    for (int lap = 0; lap < 2; ++lap) {
      yaie::mbarrier_wait(&empty, 1);
      if (lap) yaie::mbarrier_wait(&full, 0);
      LOAD(a, 64 * lap)  // HERE
    }
  } else {
    float sum = 0;
    for (int lap = 0; lap < 2; ++lap) {
      yaie::mbarrier_wait(&full, lap);
      sum += __half2float(a[threadIdx.x]);  // OTHER
      yaie::mbarrier_arrive(&empty);
    }
    y[threadIdx.x] = sum;
  }
}
LAUNCH(empty_parity, 160)

// expect: refilled a
// because: over with 32 arrivals of warp 1
// call: one_of_two(randn_h(64, 128), zeros(160))
KERNEL(one_of_two) {
  TILES INIT(1, 32)
  if (threadIdx.x < 32) {
    for (int lap = 0; lap < 2; ++lap) {
      yaie::mbarrier_wait(&empty, (lap & 1) ^ 1);
      LOAD(a, 64 * lap)  // HERE
    }
  } else {
    float sum = 0;
    for (int lap = 0; lap < 2; ++lap) {
      yaie::mbarrier_wait(&full, lap);
      sum += __half2float(a[threadIdx.x]);  // OTHER
      if (threadIdx.x < 64) yaie::mbarrier_arrive(&empty);
    }
    y[threadIdx.x] = sum;
  }
}
LAUNCH(one_of_two, 96)

// expect: refilled a
// call: stores_over_an_operand(randn_h(64, 128), zeros(128))
KERNEL(stores_over_an_operand) {
  TILES INIT(1, 1)
  LOAD(a, 0)
  yaie::mbarrier_wait(&full, 0);
  float d[32] = {};
  yaie::wgmma_fence();
  MULTIPLY(d);  // OTHER
  yaie::wgmma_commit();
  __syncthreads();
  a[threadIdx.x] = __float2half(0.0f);  // HERE
  yaie::wgmma_wait<0>();
  y[threadIdx.x] = d[0];
}
LAUNCH(stores_over_an_operand, 128)

// expect: refilled a
// call: loads_over_a_load(randn_h(64, 128), zeros(128))
KERNEL(loads_over_a_load) {
  TILES INIT(1, 1)
  LOAD(a, 0)  // OTHER
  if (threadIdx.x == 0) {
    yaie::mbarrier_arrive_expect_tx(&empty, TILE_BYTES);
    yaie::tma_load(a, &map, &empty, 64, 0);  // HERE
  }
  yaie::mbarrier_wait(&full, 0);
  yaie::mbarrier_wait(&empty, 0);
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
LAUNCH(loads_over_a_load, 128)

// ---- nobody comes

// expect: mbarrier_deadlock
// call: no_arrival(randn_h(64, 128), zeros(128))
KERNEL(no_arrival) {
  TILES INIT(1, 1)
  a[threadIdx.x] = __float2half(1.0f);
  yaie::mbarrier_wait(&full, 0);  // HERE
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
LAUNCH(no_arrival, 128)

// expect: mbarrier_deadlock
// call: producer_begins_at_0(randn_h(64, 128), zeros(160))
KERNEL(producer_begins_at_0) {
  TILES INIT(1, 128)
  if (threadIdx.x < 32) {
    PRODUCE(0)  // HERE
  } else {
    for (int lap = 0; lap < 3; ++lap) {
      yaie::mbarrier_wait(&full, lap & 1);
      y[threadIdx.x] = __half2float(a[threadIdx.x]);
      yaie::mbarrier_arrive(&empty);
    }
  }
}
LAUNCH(producer_begins_at_0, 160)

// expect: mbarrier_deadlock
// because: 1 of the 2 arrivals of phase 0 of `full` have come
// call: count_too_large(randn_h(64, 128), zeros(128))
KERNEL(count_too_large) {
  TILES INIT(2, 1)
  LOAD(a, 0)
  yaie::mbarrier_wait(&full, 0);  // HERE
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
LAUNCH(count_too_large, 128)

// expect: mbarrier_deadlock
// call: never_released(randn_h(64, 128), zeros(160))
KERNEL(never_released) {
  TILES INIT(1, 128)
  if (threadIdx.x < 32) {
    PRODUCE(1)  // HERE
  } else {
    yaie::mbarrier_wait(&full, 0);
    y[threadIdx.x] = __half2float(a[threadIdx.x]);
  }
}
LAUNCH(never_released, 160)

// expect: mbarrier_deadlock
// call: a_lap_too_many(randn_h(64, 128), zeros(160))
KERNEL(a_lap_too_many) {
  TILES INIT(1, 128)
  if (threadIdx.x < 32) {
    PRODUCE(1)
  } else {
    for (int lap = 0; lap < 4; ++lap) {
      yaie::mbarrier_wait(&full, lap & 1);  // HERE
      y[threadIdx.x] = __half2float(a[threadIdx.x]);
      yaie::mbarrier_arrive(&empty);
    }
  }
}
LAUNCH(a_lap_too_many, 160)

// expect: mbarrier_deadlock
// because: nobody has ever arrived at `empty`
// call: never_released_in_turns(randn_h(64, 128), zeros(160))
KERNEL(never_released_in_turns) {
  TILES INIT(1, 2)
  const int group = threadIdx.x / 64;
  if (threadIdx.x >= 128) {
    for (int lap = 0; lap < 3; ++lap) {
      if (threadIdx.x != 128) continue;
      yaie::mbarrier_wait(&empty, (lap & 1) ^ 1);  // HERE
      yaie::mbarrier_arrive_expect_tx(&full, TILE_BYTES);
      yaie::tma_load(a, &map, &full, 0, 0);
    }
  } else {
    if (group == 1) yaie::named_barrier_arrive(1, 128);
    for (int lap = 0; lap < 3; ++lap) {
      yaie::named_barrier_sync(1 + group, 128);
      yaie::mbarrier_wait(&full, lap & 1);
      y[threadIdx.x] = __half2float(a[threadIdx.x]);
      yaie::named_barrier_arrive(2 - group, 128);
    }
  }
}
LAUNCH(never_released_in_turns, 160)

// ---- bytes and arrivals

// expect: mbarrier_bytes
// call: too_many_bytes(randn_h(64, 128), zeros(128))
KERNEL(too_many_bytes) {
  TILES INIT(1, 1)
  if (threadIdx.x == 0) {
    yaie::mbarrier_arrive_expect_tx(&full, 2 * TILE_BYTES);
    yaie::tma_load(a, &map, &full, 0, 0);
  }
  yaie::mbarrier_wait(&full, 0);  // HERE
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
LAUNCH(too_many_bytes, 128)

// expect: mbarrier_bytes
// because: 4096 bytes were announced for phase 0 of `full` (1 arrival of warp 0
// call: elements_for_bytes(randn_h(64, 128), zeros(128))
KERNEL(elements_for_bytes) {
  TILES INIT(1, 1)
  if (threadIdx.x == 0) {
    yaie::mbarrier_arrive_expect_tx(&full, TILE);
    yaie::tma_load(a, &map, &full, 0, 0);
  }
  yaie::mbarrier_wait(&full, 0);  // HERE
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
LAUNCH(elements_for_bytes, 128)

// expect: mbarrier_bytes
// call: bytes_inside_only(randn_h(64, 128), zeros(128))
KERNEL(bytes_inside_only) {
  TILES INIT(1, 1)
  if (threadIdx.x == 0) {
    yaie::mbarrier_arrive_expect_tx(&full, TILE_BYTES / 2);
    yaie::tma_load(a, &map, &full, 0, 32);  // half of the box lies behind the tensor, and counts
  }
  yaie::mbarrier_wait(&full, 0);  // HERE
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
LAUNCH(bytes_inside_only, 128)

// expect: mbarrier_arrivals
// call: all_announce(randn_h(64, 128), zeros(128))
KERNEL(all_announce) {
  TILES INIT(1, 1)
  yaie::mbarrier_arrive_expect_tx(&full, TILE_BYTES);  // HERE
  if (threadIdx.x == 0) yaie::tma_load(a, &map, &full, 0, 0);
  yaie::mbarrier_wait(&full, 0);
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
LAUNCH(all_announce, 128)

// expect: mbarrier_parity
// call: parity_of_a_lap(randn_h(64, 128), zeros(128))
KERNEL(parity_of_a_lap) {
  TILES INIT(1, 1)
  for (unsigned lap = 0; lap < 3; ++lap) {
    if (threadIdx.x == 0) yaie::mbarrier_arrive(&full);
    yaie::mbarrier_wait(&full, lap);  // HERE
    __syncthreads();
  }
  y[threadIdx.x] = 1.0f;
}
LAUNCH(parity_of_a_lap, 128)

// ---- barriers that are not there yet

// expect: mbarrier_not_initialised
// call: no_init(randn_h(64, 128), zeros(128))
KERNEL(no_init) {
  TILES
  LOAD(a, 0)  // HERE
  yaie::mbarrier_wait(&full, 0);
  y[threadIdx.x] = __half2float(a[threadIdx.x]) + static_cast<float>(empty);
}
LAUNCH(no_init, 128)

// expect: mbarrier_not_initialised
// call: no_barrier_after_init(randn_h(64, 128), zeros(128))
KERNEL(no_barrier_after_init) {
  TILES
  if (threadIdx.x == 0) {
    yaie::mbarrier_init(&full, 1);  // OTHER
    yaie::mbarrier_init(&empty, 1);
    yaie::fence_mbarrier_init();
  }
  LOAD(a, 0)
  yaie::mbarrier_wait(&full, 0);  // HERE
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
LAUNCH(no_barrier_after_init, 128)

// expect: mbarrier_fence
// call: no_fence_after_init(randn_h(64, 128), zeros(128))
KERNEL(no_fence_after_init) {
  TILES
  if (threadIdx.x == 0) {
    yaie::mbarrier_init(&full, 1);  // HERE
    yaie::mbarrier_init(&empty, 1);
  }
  __syncthreads();
  LOAD(a, 0)  // OTHER
  yaie::mbarrier_wait(&full, 0);
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
LAUNCH(no_fence_after_init, 128)

// expect: mbarrier_fence
// call: fence_by_another(randn_h(64, 128), zeros(128))
KERNEL(fence_by_another) {
  TILES
  if (threadIdx.x == 0) yaie::mbarrier_init(&full, 1);  // HERE
  if (threadIdx.x == 1) yaie::mbarrier_init(&empty, 1), yaie::fence_mbarrier_init();
  __syncthreads();
  LOAD(a, 0)  // OTHER
  yaie::mbarrier_wait(&full, 0);
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
LAUNCH(fence_by_another, 128)

// ---- named barriers

// expect: named_barrier
// call: two_counts(randn_h(64, 128), zeros(128))
KERNEL(two_counts) {
  if (threadIdx.x < 64) {
    yaie::named_barrier_arrive(1, 128);  // OTHER
  } else {
    yaie::named_barrier_sync(1, 64);  // HERE
  }
  y[threadIdx.x] = 1.0f;
}
LAUNCH(two_counts, 128)

// expect: named_barrier
// call: more_than_come(randn_h(64, 128), zeros(128))
KERNEL(more_than_come) {
  if (threadIdx.x < 64) yaie::named_barrier_sync(1, 96);  // HERE
  y[threadIdx.x] = 1.0f;
}
LAUNCH(more_than_come, 128)

// expect: named_barrier
// call: no_multiple_of_32(randn_h(64, 128), zeros(128))
KERNEL(no_multiple_of_32) {
  if (threadIdx.x < 48) yaie::named_barrier_sync(1, 48);  // HERE
  y[threadIdx.x] = 1.0f;
}
LAUNCH(no_multiple_of_32, 128)

// expect: named_barrier
// call: nobody_begins(randn_h(64, 128), zeros(128))
KERNEL(nobody_begins) {
  const int group = threadIdx.x / 64;
  for (int turn = 0; turn < 3; ++turn) {
    yaie::named_barrier_sync(1 + group, 128);  // HERE
    y[threadIdx.x] = turn;
    yaie::named_barrier_arrive(2 - group, 128);
  }
}
LAUNCH(nobody_begins, 128)

// expect: race a
// call: barrier_of_others(randn_h(64, 128), zeros(128))
KERNEL(barrier_of_others) {
  TILES
  a[threadIdx.x] = __float2half(threadIdx.x);  // OTHER
  yaie::named_barrier_sync(1 + threadIdx.x / 64, 64);
  y[threadIdx.x] = __half2float(a[127 - threadIdx.x]);  // HERE
  if (threadIdx.x > 1000) y[0] = __half2float(b[0]) + static_cast<float>(full + empty);
}
LAUNCH(barrier_of_others, 128)

// ---- registers

// expect: registers
// call: takes_without_giving(randn_h(64, 128), zeros(256))
KERNEL(takes_without_giving) {
  if (threadIdx.x < 128) yaie::setmaxnreg_inc<248>();
  else yaie::setmaxnreg_inc<256>();  // HERE
  y[threadIdx.x] = 1.0f;
}
LAUNCH(takes_without_giving, 256)

// expect: registers
// call: gives_too_little(randn_h(64, 128), zeros(384))
KERNEL(gives_too_little) {
  if (threadIdx.x < 128) {
    yaie::setmaxnreg_dec<40>();
  } else {
    yaie::setmaxnreg_inc<240>();  // HERE
  }
  y[threadIdx.x] = 1.0f;
}
LAUNCH(gives_too_little, 384)

// expect: registers
// call: not_by_eights(randn_h(64, 128), zeros(384))
KERNEL(not_by_eights) {
  if (threadIdx.x < 128) yaie::setmaxnreg_dec<36>();  // HERE
  y[threadIdx.x] = 1.0f;
}
LAUNCH(not_by_eights, 384)

// expect: registers
// call: gives_more(randn_h(64, 128), zeros(384))
KERNEL(gives_more) {
  if (threadIdx.x < 128) yaie::setmaxnreg_dec<200>();  // HERE
  y[threadIdx.x] = 1.0f;
}
LAUNCH(gives_more, 384)

// expect: registers
// call: product_after_giving(randn_h(64, 128), zeros(128))
KERNEL(product_after_giving) {
  TILES INIT(1, 1)
  LOAD(a, 0)
  yaie::setmaxnreg_dec<24>();
  yaie::mbarrier_wait(&full, 0);
  float d[32] = {};
  yaie::wgmma_fence();
  MULTIPLY(d);  // HERE
  FINISH(d);
}
LAUNCH(product_after_giving, 128)

// ---- wgmma

#define LOADED            \
  TILES INIT(1, 1)        \
  LOAD(a, 0)              \
  yaie::mbarrier_wait(&full, 0);

// expect: wgmma_fence
// call: no_fence(randn_h(64, 128), zeros(128))
KERNEL(no_fence) {
  LOADED
  float d[32] = {};
  MULTIPLY(d);  // HERE
  FINISH(d);
}
LAUNCH(no_fence, 128)

// expect: wgmma_fence
// g++ only
// call: zeros_after_fence(randn_h(64, 128), zeros(128))
KERNEL(zeros_after_fence) {
  LOADED
  float d[32];
  yaie::wgmma_fence();
  for (int i = 0; i < 32; ++i) d[i] = 0.0f;  // OTHER
  MULTIPLY(d);  // HERE
  FINISH(d);
}
LAUNCH(zeros_after_fence, 128)

// expect: wgmma_fence
// g++ only
// call: scaled_between(randn_h(64, 128), zeros(128))
KERNEL(scaled_between) {
  LOADED
  float d[32] = {};
  yaie::wgmma_fence();
  MULTIPLY(d);
  yaie::wgmma_commit();
  yaie::wgmma_wait<0>();
  for (int i = 0; i < 32; ++i) d[i] *= 0.5f;  // OTHER
  MULTIPLY(d);  // HERE
  FINISH(d);
}
LAUNCH(scaled_between, 128)

// expect: wgmma_fence
// g++ only
// call: packed_after_fence(randn_h(64, 128), zeros(128))
KERNEL(packed_after_fence) {
  LOADED
  float d[32] = {};
  uint32_t weights[4];
  yaie::wgmma_fence();
  for (int i = 0; i < 4; ++i) weights[i] = 0x3c003c00;  // OTHER
  yaie::wgmma_rs<__half, 64>(d, weights, OPERAND(a), true);  // HERE
  FINISH(d);
}
LAUNCH(packed_after_fence, 128)

// expect: wgmma_not_waited
// call: read_in_flight(randn_h(64, 128), zeros(128))
KERNEL(read_in_flight) {
  LOADED
  float d[32] = {};
  yaie::wgmma_fence();
  MULTIPLY(d);  // OTHER
  yaie::wgmma_commit();
  y[threadIdx.x] = d[0];  // HERE
  yaie::wgmma_wait<0>();
}
LAUNCH(read_in_flight, 128)

// expect: wgmma_not_waited
// because: no wgmma_commit() has closed the group
// call: no_commit(randn_h(64, 128), zeros(128))
KERNEL(no_commit) {
  LOADED
  float d[32] = {};
  yaie::wgmma_fence();
  MULTIPLY(d);  // OTHER
  yaie::wgmma_wait<0>();
  y[threadIdx.x] = d[0];  // HERE
}
LAUNCH(no_commit, 128)

// expect: wgmma_not_waited
// because: lets 1 group be in flight
// call: leaves_one(randn_h(64, 128), zeros(128))
KERNEL(leaves_one) {
  LOADED
  float d[32] = {}, other[32] = {};
  yaie::wgmma_fence();
  MULTIPLY(other);
  yaie::wgmma_commit();
  MULTIPLY(d);  // OTHER
  yaie::wgmma_commit();
  yaie::wgmma_wait<1>();
  y[threadIdx.x] = other[0] + d[0];  // HERE
  yaie::wgmma_wait<0>();
}
LAUNCH(leaves_one, 128)

// expect: wgmma_not_waited
// g++ only
// call: rescaled_in_flight(randn_h(64, 128), zeros(128))
KERNEL(rescaled_in_flight) {
  LOADED
  float d[32] = {};
  yaie::wgmma_fence();
  MULTIPLY(d);  // OTHER
  yaie::wgmma_commit();
  for (int i = 0; i < 32; ++i) d[i] *= 0.5f;  // HERE
  yaie::wgmma_wait<0>();
  y[threadIdx.x] = d[0];
}
LAUNCH(rescaled_in_flight, 128)

// expect: wgmma_not_waited
// call: ends_in_flight(randn_h(64, 128), zeros(128))
KERNEL(ends_in_flight) {
  LOADED
  float d[32] = {};
  y[threadIdx.x] = d[0];
  yaie::wgmma_fence();
  MULTIPLY(d);  // HERE
  yaie::wgmma_commit();
}
LAUNCH(ends_in_flight, 128)

// expect: operand_changed
// g++ only
// call: repacked_in_flight(randn_h(64, 128), zeros(128))
KERNEL(repacked_in_flight) {
  LOADED
  float d[32] = {};
  uint32_t weights[4];
  for (int lap = 0; lap < 2; ++lap) {
    for (int i = 0; i < 4; ++i) weights[i] = 0x3c003c00 + lap;  // HERE
    yaie::wgmma_fence();
    yaie::wgmma_rs<__half, 64>(d, weights, OPERAND(a), true);  // OTHER
    yaie::wgmma_commit();
  }
  yaie::wgmma_wait<0>();
  y[threadIdx.x] = d[0];
}
LAUNCH(repacked_in_flight, 128)

// expect: operand_changed
// call: repacked_before_the_second(randn_h(64, 128), zeros(128))
KERNEL(repacked_before_the_second) {
  LOADED
  float d[32] = {}, sums[32] = {};
  uint32_t weights[4] = {0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00};
  yaie::wgmma_fence();
  MULTIPLY(d);
  yaie::wgmma_commit();
  yaie::wgmma_rs<__half, 64>(sums, weights, OPERAND(a), true);  // OTHER
  yaie::wgmma_commit();
  yaie::wgmma_wait<1>();
  weights[0] = __float_as_uint(d[0]);  // HERE
  yaie::wgmma_wait<0>();
  y[threadIdx.x] = sums[0] + weights[0];
}
LAUNCH(repacked_before_the_second, 128)

// expect: warpgroup_divergence
// call: a_warp_stays_away(randn_h(64, 128), zeros(128))
KERNEL(a_warp_stays_away) {
  LOADED
  float d[32] = {};
  if (threadIdx.x < 96) {
    yaie::wgmma_fence();
    MULTIPLY(d);
    yaie::wgmma_commit();
    yaie::wgmma_wait<0>();  // HERE
  }
  y[threadIdx.x] = d[0];
}
LAUNCH(a_warp_stays_away, 128)

// expect: warpgroup_divergence
// call: rows_of_its_own(randn_h(64, 128), zeros(128))
KERNEL(rows_of_its_own) {
  LOADED
  float d[32] = {};
  yaie::wgmma_fence();
  yaie::wgmma_ss<__half, 64>(d, OPERAND(a + threadIdx.x / 64 * 16), OPERAND(a), true);  // HERE
  FINISH(d);
}
LAUNCH(rows_of_its_own, 128)

// ---- proxies

// expect: proxy_fence a
// call: stored_for_wgmma(randn_h(64, 128), zeros(128))
KERNEL(stored_for_wgmma) {
  TILES
  FILL(a, 1.0f)  // OTHER
  __syncthreads();
  float d[32] = {};
  yaie::wgmma_fence();
  MULTIPLY(d);  // HERE
  FINISH(d);
  if (threadIdx.x > 1000) y[0] = __half2float(b[0]) + static_cast<float>(full + empty);
}
LAUNCH(stored_for_wgmma, 128)

// expect: proxy_fence a
// call: fence_before_the_store(randn_h(64, 128), zeros(128))
KERNEL(fence_before_the_store) {
  TILES INIT(1, 1)
  yaie::fence_proxy_async();
  FILL(a, 1.0f)  // OTHER
  __syncthreads();
  float d[32] = {};
  yaie::wgmma_fence();
  MULTIPLY(d);  // HERE
  FINISH(d);
}
LAUNCH(fence_before_the_store, 128)

// expect: proxy_fence a
// call: copied_for_wgmma(randn_h(64, 128), zeros(128))
KERNEL(copied_for_wgmma) {
  TILES INIT(128, 1)
  for (int i = threadIdx.x; i < TILE / 8; i += 128) yaie::cp_async_16(a + i * 8, x + i * 8);  // OTHER
  yaie::mbarrier_expect_cp_async(&full);
  yaie::mbarrier_arrive(&full);
  yaie::mbarrier_wait(&full, 0);
  float d[32] = {};
  yaie::wgmma_fence();
  MULTIPLY(d);  // HERE
  FINISH(d);
}
LAUNCH(copied_for_wgmma, 128)

// expect: proxy_fence b
// call: stored_for_tma(zeros_h(64, 128), zeros(128))
KERNEL(stored_for_tma) {
  TILES INIT(1, 1)
  FILL(b, 1.0f)  // OTHER
  __syncthreads();
  if (threadIdx.x == 0) {
    yaie::tma_store(&map, b, 0, 0);  // HERE
    yaie::tma_store_commit();
    yaie::tma_store_wait<0>();
  }
}
extern "C" int stored_for_tma(__half* x, float* y) {
  CUtensorMap map;
  if (auto error = yaie::tensor_map(&map, x, {128, 64}, {256}, {64, 64}, CU_TENSOR_MAP_SWIZZLE_128B)) return error;
  stored_for_tma_kernel<<<1, 128>>>(map, x, y);
  return cudaGetLastError();
}

// expect: race a
// call: no_barrier_before_wgmma(randn_h(64, 128), zeros(256))
KERNEL(no_barrier_before_wgmma) {
  TILES INIT(1, 1)
  if (threadIdx.x >= 128) {
    for (int i = threadIdx.x - 128; i < TILE; i += 128) a[i] = __float2half(2.0f);  // OTHER
    yaie::fence_proxy_async();
    yaie::named_barrier_sync(1, 128);
  } else {
    float d[32] = {};
    yaie::named_barrier_sync(2, 128);
    yaie::wgmma_fence();
    MULTIPLY(d);  // HERE
    FINISH(d);
  }
}
LAUNCH(no_barrier_before_wgmma, 256)

// ---- stores of TMA

#define STORING(name)                                                                                                   \
  extern "C" int name(__half* x, float* y) {                                                                            \
    CUtensorMap map;                                                                                                    \
    if (auto error = yaie::tensor_map(&map, x, {128, 64}, {256}, {64, 64}, CU_TENSOR_MAP_SWIZZLE_128B)) return error;   \
    name##_kernel<<<1, 128>>>(map, x, y);                                                                               \
    return cudaGetLastError();                                                                                          \
  }

// expect: tma_store_not_waited b
// call: changed_while_stored(zeros_h(64, 128), zeros(128))
KERNEL(changed_while_stored) {
  TILES INIT(1, 1)
  FILL(b, 1.0f)
  yaie::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    yaie::tma_store(&map, b, 0, 0);  // OTHER
    yaie::tma_store_commit();
  }
  __syncthreads();
  b[threadIdx.x] = __float2half(2.0f);  // HERE
  if (threadIdx.x == 0) yaie::tma_store_wait<0>();
}
STORING(changed_while_stored)

// expect: tma_store_not_waited b
// call: gone_while_stored(zeros_h(64, 128), zeros(128))
KERNEL(gone_while_stored) {
  TILES INIT(1, 1)
  FILL(b, 1.0f)
  yaie::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    yaie::tma_store(&map, b, 0, 0);  // HERE
    yaie::tma_store_commit();
  }
}
STORING(gone_while_stored)

// expect: tma_store_not_waited b
// call: store_not_committed(zeros_h(64, 128), zeros(128))
KERNEL(store_not_committed) {
  TILES INIT(1, 1)
  FILL(b, 1.0f)
  yaie::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    yaie::tma_store(&map, b, 0, 0);  // HERE
    yaie::tma_store_wait<0>();
  }
}
STORING(store_not_committed)

// ---- tiles and maps

// expect: tile_misaligned
// call: tile_at_16(randn_h(64, 128), zeros(128))
KERNEL(tile_at_16) {
  __shared__ __align__(1024) __half a[TILE + 8];
  __shared__ uint64_t full, empty;
  INIT(1, 1)
  LOAD(a + 8, 0)  // HERE
  yaie::mbarrier_wait(&full, 0);
  y[threadIdx.x] = __half2float(a[threadIdx.x + 8]);
}
LAUNCH(tile_at_16, 128)

// expect: tile_misaligned
// call: operand_at_512(randn_h(64, 128), zeros(128))
KERNEL(operand_at_512) {
  __shared__ __align__(1024) __half a[TILE + 256];
  __shared__ uint64_t full, empty;
  INIT(1, 1)
  LOAD(a + 256, 0)
  yaie::mbarrier_wait(&full, 0);
  float d[32] = {};
  yaie::wgmma_fence();
  yaie::wgmma_ss<__half, 64>(d, OPERAND(a + 256), OPERAND(a + 256), true);  // HERE
  FINISH(d);
}
LAUNCH(operand_at_512, 128)

// expect: out_of_bounds a
// call: tile_too_small(randn_h(64, 128), zeros(128))
KERNEL(tile_too_small) {
  __shared__ __align__(1024) __half a[TILE / 2];
  __shared__ uint64_t full, empty;
  INIT(1, 1)
  LOAD(a, 0)  // HERE
  yaie::mbarrier_wait(&full, 0);
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
LAUNCH(tile_too_small, 128)

// expect: tensor_map
// call: one_coordinate(randn_h(64, 128), zeros(128))
KERNEL(one_coordinate) {
  TILES INIT(1, 1)
  if (threadIdx.x == 0) {
    yaie::mbarrier_arrive_expect_tx(&full, TILE_BYTES);
    yaie::tma_load(a, &map, &full, 0);  // HERE
  }
  yaie::mbarrier_wait(&full, 0);
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
LAUNCH(one_coordinate, 128)

// expect: tensor_map
// call: box_too_wide(randn_h(64, 128), zeros(128))
extern "C" int box_too_wide(const __half* x, float* y) {
  CUtensorMap map;
  return yaie::tensor_map(&map, x, {128, 64}, {256}, {128, 64}, CU_TENSOR_MAP_SWIZZLE_128B);  // HERE
}

// expect: tensor_map
// call: box_too_long(randn_h(64, 128), zeros(128))
extern "C" int box_too_long(const __half* x, float* y) {
  CUtensorMap map;
  return yaie::tensor_map(&map, x, {64, 128}, {128}, {64, 512}, CU_TENSOR_MAP_SWIZZLE_128B);  // HERE
}

// expect: tensor_map
// call: box_of_3(randn_h(64, 128), zeros(128))
extern "C" int box_of_3(const __half* x, float* y) {
  CUtensorMap map;
  return yaie::tensor_map(&map, x, {128, 64}, {256}, {3, 64}, CU_TENSOR_MAP_SWIZZLE_NONE);  // HERE
}

// expect: tensor_map
// call: odd_stride(randn_h(64, 128), zeros(128))
extern "C" int odd_stride(const __half* x, float* y) {
  CUtensorMap map;
  return yaie::tensor_map(&map, x, {100, 64}, {200}, {64, 64}, CU_TENSOR_MAP_SWIZZLE_128B);  // HERE
}

// expect: tensor_map
// call: odd_address(randn_h(64, 128), zeros(128))
extern "C" int odd_address(const __half* x, float* y) {
  CUtensorMap map;
  return yaie::tensor_map(&map, x + 4, {64, 32}, {256}, {64, 32}, CU_TENSOR_MAP_SWIZZLE_128B);  // HERE
}

// expect: out_of_bounds x
// call: map_too_large(randn_h(64, 128), zeros(128))
KERNEL(map_too_large) {
  TILES INIT(1, 1)
  LOAD(a, 0)  // HERE
  yaie::mbarrier_wait(&full, 0);
  y[threadIdx.x] = __half2float(a[threadIdx.x]);
}
extern "C" int map_too_large(const __half* x, float* y) {
  CUtensorMap map;
  if (auto error = yaie::tensor_map(&map, x, {256, 64}, {512}, {64, 64}, CU_TENSOR_MAP_SWIZZLE_128B)) return error;
  map_too_large_kernel<<<1, 128>>>(map, x, y);
  return cudaGetLastError();
}
