"""Three other right answers for each exercise of lesson 14."""

ANSWERS = {
    "14.1": [
        """
template <typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void mask_scores(Accumulators<BANDS, BLOCKS>& scores, const Head<T>& head, int first_row,
                                            int first_key) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
#pragma unroll
        for (int block = 0; block < BLOCKS; ++block) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int row = first_row + 16 * band + lane / 4 + 8 * (i / 2);
                const int key = first_key + 8 * block + 2 * (lane % 4) + i % 2;
                scores[band][block][i] = key < head.visible_keys(row) ? scores[band][block][i] : -INFINITY;
            }
        }
    }
}
""",
        """
__device__ __forceinline__ void hide(float& score, int key, int seen) {
    if (key >= seen) score = -INFINITY;
}

template <typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void mask_scores(Accumulators<BANDS, BLOCKS>& scores, const Head<T>& head, int first_row,
                                            int first_key) {
    const int row_of_lane = (threadIdx.x & 31) >> 2, key_of_lane = (threadIdx.x & 3) << 1;
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
        const int upper = head.visible_keys(first_row + band * 16 + row_of_lane);
        const int lower = head.visible_keys(first_row + band * 16 + row_of_lane + 8);
#pragma unroll
        for (int block = 0; block < BLOCKS; ++block) {
            const int key = first_key + block * 8 + key_of_lane;
            hide(scores[band][block][0], key, upper);
            hide(scores[band][block][1], key + 1, upper);
            hide(scores[band][block][2], key, lower);
            hide(scores[band][block][3], key + 1, lower);
        }
    }
}
""",
        """
template <typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void mask_scores(Accumulators<BANDS, BLOCKS>& scores, const Head<T>& head, int first_row,
                                            int first_key) {
    for (int n = 0; n < BANDS * BLOCKS * 4; ++n) {
        const int i = n % 4, block = n / 4 % BLOCKS, band = n / (4 * BLOCKS);
        int row = threadIdx.x % 32 / 4, key = threadIdx.x % 4 * 2;
        if (i == 2 || i == 3) row += 8;
        if (i == 1 || i == 3) key += 1;
        row += first_row + band * 16;
        key += first_key + block * 8;
        if (!(key < head.visible_keys(row))) scores[band][block][i] = -1.0f / 0.0f;
    }
}
""",
    ],
    "14.2": [
        """
template <int HEAD_DIM, typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void score_keys(const uint4* queries, const uint4* keys,
                                           Accumulators<BANDS, BLOCKS>& scores) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int k = 0; k < HEAD_DIM / 16; ++k) {
#pragma unroll
        for (int band = 0; band < BANDS; ++band) {
            uint32_t a[4];
            const int row = 16 * (BANDS * warp + band) + lane % 16;
            yaie::ldmatrix_x4(a, &queries[place<HEAD_DIM>(row, 2 * k + lane / 16)]);
#pragma unroll
            for (int block = 0; block < BLOCKS; ++block) {  // 8 keys at a time: two matrices
                uint32_t b[2];
                yaie::ldmatrix_x2(b, &keys[place<HEAD_DIM>(8 * block + lane % 8, 2 * k + lane / 8 % 2)]);
                multiply<T>(scores[band][block], a, b);
            }
        }
    }
}
""",
        """
template <int HEAD_DIM, typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void score_keys(const uint4* queries, const uint4* keys,
                                           Accumulators<BANDS, BLOCKS>& scores) {
    const int lane = threadIdx.x & 31;
    const int matrix = lane >> 3, i = lane & 7;
    for (int chunk = 0; chunk < HEAD_DIM / 8; chunk += 2) {
        for (int block = 0; block < BLOCKS; block += 2) {
            uint32_t b[4];
            yaie::ldmatrix_x4(b, keys + place<HEAD_DIM>((block + (matrix >> 1)) * 8 + i, chunk + (matrix & 1)));
            for (int band = 0; band < BANDS; ++band) {
                uint32_t a[4];
                const int row = ((threadIdx.x >> 5) * BANDS + band) * 16 + (matrix & 1) * 8 + i;
                yaie::ldmatrix_x4(a, queries + place<HEAD_DIM>(row, chunk + (matrix >> 1)));
                multiply<T>(scores[band][block], a, {b[0], b[1]});
                multiply<T>(scores[band][block + 1], a, {b[2], b[3]});
            }
        }
    }
}
""",
        """
template <int HEAD_DIM>
__device__ __forceinline__ void load_operand(uint32_t (&a)[4], const uint4* tile, int first_row, int chunk) {
    const int lane = threadIdx.x % 32;
    yaie::ldmatrix_x4(a, &tile[place<HEAD_DIM>(first_row + lane % 16, chunk + lane / 16)]);
}

template <int HEAD_DIM, typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void score_keys(const uint4* queries, const uint4* keys,
                                           Accumulators<BANDS, BLOCKS>& scores) {
    const int first_row = threadIdx.x / 32 * 16 * BANDS;
    clear(scores);
    for (int chunk = 0; chunk < HEAD_DIM / 8; chunk += 2) {
        uint32_t a[BANDS][4];
        for (int band = 0; band < BANDS; ++band) load_operand<HEAD_DIM>(a[band], queries, first_row + 16 * band, chunk);
        for (int block = 0; block < BLOCKS; block += 2) {
            uint32_t b[4];  // in the order of a left operand: both blocks' first chunks, then their second ones
            load_operand<HEAD_DIM>(b, keys, 8 * block, chunk);
            for (int band = 0; band < BANDS; ++band) {
                multiply<T>(scores[band][block], a[band], {b[0], b[2]});
                multiply<T>(scores[band][block + 1], a[band], {b[1], b[3]});
            }
        }
    }
}
""",
    ],
    "14.3": [
        """
template <typename StartTile>
__device__ __forceinline__ void next_tile(int tile, int num_tiles, StartTile start_tile) {
    const int next = tile + 1;
    yaie::cp_async_wait<0>();
    __syncthreads();
    if (next >= num_tiles) return;
    start_tile(next);
    yaie::cp_async_commit();
}
""",
        """
template <typename StartTile>
__device__ __forceinline__ void next_tile(int tile, int num_tiles, StartTile start_tile) {
    __syncthreads();  // the stage of the last tile is free
    if (tile + 1 < num_tiles) {
        start_tile(tile + 1);
    }
    yaie::cp_async_commit();  // an empty group at the end, so that there is always one to leave in flight
    yaie::cp_async_wait<1>();
    __syncthreads();  // all threads' copies of this tile have landed
}
""",
        """
__device__ __forceinline__ void meet_all_copies() {
    yaie::cp_async_commit();
    yaie::cp_async_wait<0>();
    __syncthreads();
}

template <typename StartTile>
__device__ __forceinline__ void next_tile(int tile, int num_tiles, StartTile start_tile) {
    meet_all_copies();
    if (tile < num_tiles - 1) start_tile(tile + 1);
}
""",
    ],
}
