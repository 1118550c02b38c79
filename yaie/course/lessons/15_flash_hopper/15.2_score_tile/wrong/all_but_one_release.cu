// expect: ring.empty[0]
template <typename T, int HEAD_DIM>
__device__ __forceinline__ void score_tile(float (&scores)[KEYS / 2], const char* queries, const char* slots,
                                           Ring<SLOTS>& ring, unsigned n) {
    yaie::mbarrier_wait(&ring.full[n % SLOTS], n / SLOTS % 2);
    yaie::fence_proxy_async();  // the last tile of a sequence is copied by threads
    start_scores<T, HEAD_DIM, ROWS, KEYS>(scores, queries, 0, slots + n % SLOTS * TILE_BYTES<KEYS, HEAD_DIM>);
    yaie::wgmma_wait<0>();  // until then the tile is being read
    yaie::wgmma_keep(scores);
    if (threadIdx.x != 0) {
        yaie::mbarrier_arrive(&ring.empty[n % SLOTS]);
    }
}
