// The check calls flash_attention_5_wgmma, too, and no other launcher of the engine.
// score_tile by itself: scores [uses][64][KEYS] of 64 queries and `uses` tiles of keys, head_dim 64. The uses are
// number `first` and those behind it, as in a ring that has been used before. Each slot has a producer of its own, which
// waits for that slot alone: it fills it as early as it may. It arrives at `empty` as well, so that no odd number of
// arrivals looks like one.
__global__ void score_tiles_kernel(const __grid_constant__ CUtensorMap query_map,
                                   const __grid_constant__ CUtensorMap key_map, float* scores, int uses, int first) {
    constexpr int HEAD_DIM = 64, BYTES = TILE_BYTES<KEYS, HEAD_DIM>;
    extern __shared__ __align__(1024) char memory[];
    Shared<HEAD_DIM>& shared = *reinterpret_cast<Shared<HEAD_DIM>*>(memory);
    if (threadIdx.x == 0) {
        shared.ring.init(1, 2);
        shared.queries_ring.init(1, 1);
        yaie::fence_mbarrier_init();
    }
    __syncthreads();
    if (threadIdx.x == WARPGROUP + SLOTS) {
        uint64_t* full = &shared.queries_ring.full[0];
        yaie::mbarrier_arrive_expect_tx(full, TILE_BYTES<ROWS, HEAD_DIM>);
        yaie::tma_load(shared.queries, &query_map, full, 0, 0, 0);
    } else if (threadIdx.x >= WARPGROUP && threadIdx.x < WARPGROUP + SLOTS) {
        for (int n = threadIdx.x - WARPGROUP; n < first + uses; n += SLOTS) {
            if (n >= SLOTS) {
                yaie::mbarrier_arrive(&shared.ring.empty[n % SLOTS]);
                yaie::mbarrier_wait(&shared.ring.empty[n % SLOTS], (n / SLOTS + 1) % 2);
            }
            uint64_t* full = &shared.ring.full[n % SLOTS];
            yaie::mbarrier_arrive_expect_tx(full, BYTES);
            yaie::tma_load(shared.slots + n % SLOTS * BYTES, &key_map, full, 0, n < first ? 0 : (n - first) * KEYS, 0);
        }
    } else if (threadIdx.x < WARPGROUP) {
        yaie::mbarrier_wait(&shared.queries_ring.full[0], 0);
        for (int n = 0; n < first; ++n) {
            yaie::mbarrier_wait(&shared.ring.full[n % SLOTS], n / SLOTS % 2);
            if (threadIdx.x == 0) {
                yaie::mbarrier_arrive(&shared.ring.empty[n % SLOTS]);
            }
        }
        for (int i = 0; i < uses; ++i) {
            float own[KEYS / 2];
            for (float& score : own) score = -1.0f;
            score_tile<__half, HEAD_DIM>(own, shared.queries, shared.slots, shared.ring, first + i);
            for (int j = 0; j < KEYS / 2; ++j) {
                scores[(i * 64 + own_row(j / 2 % 2)) * KEYS + 8 * (j / 4) + threadIdx.x % 4 * 2 + j % 2] = own[j];
            }
        }
    }
}

extern "C" int score_tiles_alone(const __half* queries, const __half* keys, float* scores, int uses, int first,
                                 cudaStream_t stream) {
    CUtensorMap query_map, key_map;
    cudaError_t error = map_of_rows<__half>(&query_map, queries, ROWS, 1, 64, ROWS);
    error = error ? error : map_of_rows<__half>(&key_map, keys, static_cast<int64_t>(uses) * KEYS, 1, 64, KEYS);
    error = error ? error : allow_shared_memory(score_tiles_kernel, sizeof(Shared<64>));
    if (error) {
        return error;
    }
    score_tiles_kernel<<<1, THREADS, sizeof(Shared<64>), stream>>>(query_map, key_map, scores, uses, first);
    return cudaGetLastError();
}
