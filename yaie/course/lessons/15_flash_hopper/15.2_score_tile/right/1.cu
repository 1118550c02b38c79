template <typename T, int HEAD_DIM>
__device__ __forceinline__ void score_tile(float (&scores)[KEYS / 2], const char* queries, const char* slots,
                                           Ring<SLOTS>& ring, unsigned n) {
    const unsigned slot = n % SLOTS, lap = n / SLOTS;
    yaie::mbarrier_wait(&ring.full[slot], lap & 1);
    yaie::fence_proxy_async();
    const char* keys = slots + slot * TILE_BYTES<KEYS, HEAD_DIM>;
    start_scores<T, HEAD_DIM, ROWS, KEYS>(scores, queries, 0, keys);
    yaie::wgmma_wait<0>();
    yaie::wgmma_keep(scores);
    if (threadIdx.x % WARPGROUP == 64) {
        yaie::mbarrier_arrive(&ring.empty[slot]);
    }
}
