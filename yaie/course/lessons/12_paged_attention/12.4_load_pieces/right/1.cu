template <typename L, typename T>
__device__ __forceinline__ void load_pieces(const L& me, uint4 (&raw)[TILE_PIECES], const T* rows,
                                            const RowOffsets<L>& offsets, int head_dim) {
#pragma unroll
    for (int i = 0; i < TILE_PIECES; ++i) {
        const int piece = me.member + i % L::CHUNKS * L::LANES;
        if (piece < head_dim / L::PIECE) {
            raw[i] = reinterpret_cast<const uint4*>(rows + offsets[i / L::CHUNKS])[piece];
        }
    }
}
