template <typename T>
__device__ __forceinline__ uint4 sixteen_bytes(const T* place) {
    return __ldg(reinterpret_cast<const uint4*>(place));
}

template <typename L, typename T>
__device__ __forceinline__ void load_pieces(const L& me, uint4 (&raw)[TILE_PIECES], const T* rows,
                                            const RowOffsets<L>& offsets, int head_dim) {
    constexpr int STEP = 16 / sizeof(T);
    int next = 0;
    for (int round = 0; round < L::ROUNDS; ++round) {
        const T* key = rows + offsets[round];
        for (int d = me.member * STEP; d < L::MAX_DIM; d += L::LANES * STEP, ++next) {
            if (d < head_dim) raw[next] = sixteen_bytes(key + d);
        }
    }
}
