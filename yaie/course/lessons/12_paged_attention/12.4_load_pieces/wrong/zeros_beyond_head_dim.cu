// expect: raw[i] of each lane of two warps, where -1 was never set
template <typename L, typename T>
__device__ __forceinline__ void load_pieces(const L& me, uint4 (&raw)[TILE_PIECES], const T* rows,
                                            const RowOffsets<L>& offsets, int head_dim) {
    for (int i = 0; i < TILE_PIECES; ++i) {
        const int d = (me.member + i % L::CHUNKS * L::LANES) * L::PIECE;
        const bool exists = d < head_dim;
        const uint4 piece = *reinterpret_cast<const uint4*>(rows + offsets[i / L::CHUNKS] + (exists ? d : 0));
        raw[i] = exists ? piece : make_uint4(0, 0, 0, 0);
    }
}
