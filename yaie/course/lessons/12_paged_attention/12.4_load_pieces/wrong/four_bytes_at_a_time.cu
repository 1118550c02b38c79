// expect: The result is right, but it takes too many loads
template <typename L, typename T>
__device__ __forceinline__ void load_pieces(const L& me, uint4 (&raw)[TILE_PIECES], const T* rows,
                                            const RowOffsets<L>& offsets, int head_dim) {
    for (int i = 0; i < TILE_PIECES; ++i) {
        const int d = (me.member + i % L::CHUNKS * L::LANES) * L::PIECE;
        if (d < head_dim) {
            const unsigned* words = reinterpret_cast<const unsigned*>(rows + offsets[i / L::CHUNKS] + d);
            raw[i] = make_uint4(words[0], words[1], words[2], words[3]);
        }
    }
}
