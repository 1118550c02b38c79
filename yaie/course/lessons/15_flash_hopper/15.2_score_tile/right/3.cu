// The products step by step, and one warp's first lane for the release.
template <typename T, int HEAD_DIM>
__device__ __forceinline__ void score_tile(float (&scores)[KEYS / 2], const char* queries, const char* slots,
                                           Ring<SLOTS>& ring, unsigned n) {
    const int slot = static_cast<int>(n % SLOTS);
    const char* keys = &slots[slot * KEYS * HEAD_DIM * 2];
    yaie::mbarrier_wait(ring.full + slot, (n - slot) / SLOTS % 2);
    yaie::fence_proxy_async();
    yaie::wgmma_fence();
    for (int step = 0; step < HEAD_DIM / 16; ++step) {
        const uint64_t right = columns_operand<KEYS>(keys, 0, step);
        yaie::wgmma_ss<T, KEYS>(scores, columns_operand<ROWS>(queries, 0, step), right, step != 0);
    }
    yaie::wgmma_commit();
    yaie::wgmma_wait<0>();
    yaie::wgmma_keep(scores);
    if (threadIdx.x / 32 == 3 && threadIdx.x % 32 == 0) {
        yaie::mbarrier_arrive(ring.empty + slot);
    }
}
