template <typename L, typename T>
__device__ __forceinline__ void load_pieces(const L& me, uint4 (&raw)[TILE_PIECES], const T* rows,
                                            const RowOffsets<L>& offsets, int head_dim) {
    const T* own = rows + me.member * L::PIECE;
    const int left = head_dim - me.member * L::PIECE;  // from this lane's first piece to the end of the key
#pragma unroll
    for (int chunk = 0; chunk < L::CHUNKS; ++chunk) {
        const int further = chunk * L::LANES * L::PIECE;
        if (further >= left) break;
#pragma unroll
        for (int round = 0; round < L::ROUNDS; ++round) {
            raw[round * L::CHUNKS + chunk] = *(const uint4*)(own + offsets[round] + further);
        }
    }
}
