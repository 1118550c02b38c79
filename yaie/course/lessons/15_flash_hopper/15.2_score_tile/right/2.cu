template <typename T, int HEAD_DIM>
__device__ __forceinline__ void score_tile(float (&scores)[KEYS / 2], const char* queries, const char* slots,
                                           Ring<SLOTS>& ring, unsigned n) {
    ring.wait_full(n);
    yaie::fence_proxy_async();
    start_scores<T, HEAD_DIM, ROWS, KEYS>(scores, queries, 0, slots + n % SLOTS * TILE_BYTES<KEYS, HEAD_DIM>);
    yaie::wgmma_wait<0>();
    yaie::wgmma_keep(scores);
    if (threadIdx.x == 0) {
        ring.release(n);
    }
}
