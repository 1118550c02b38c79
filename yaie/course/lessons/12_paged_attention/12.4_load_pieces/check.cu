// load_pieces by itself: lane l of the first two warps writes its TILE_PIECES pieces, with -1 where nothing was loaded.
// `starts` has the offsets of a warp's keys, of both warps.
template <int DIM>
__global__ void pieces_alone(const float* rows, const int64_t* starts, int head_dim, float* pieces) {
    using L = Layout<float, DIM>;
    const L me;
    RowOffsets<L> offsets;
    for (int round = 0; round < L::ROUNDS; ++round) {
        offsets[round] = starts[me.warp * L::KEYS + round * L::TEAMS + me.team];
    }
    const unsigned nothing = __float_as_uint(-1.0f);
    uint4 raw[TILE_PIECES];
    for (int i = 0; i < TILE_PIECES; ++i) {
        raw[i] = make_uint4(nothing, nothing, nothing, nothing);
    }
    load_pieces(me, raw, rows, offsets, head_dim);
    for (int i = 0; i < TILE_PIECES; ++i) {
        reinterpret_cast<uint4*>(pieces)[threadIdx.x * TILE_PIECES + i] = raw[i];
    }
}

extern "C" int load_pieces_alone(const float* rows, const int64_t* starts, int head_dim, int max_dim, float* pieces,
                                 cudaStream_t stream) {
    if (max_dim == 32) {
        pieces_alone<32><<<1, 64, 0, stream>>>(rows, starts, head_dim, pieces);
    } else if (max_dim == 128) {
        pieces_alone<128><<<1, 64, 0, stream>>>(rows, starts, head_dim, pieces);
    } else {
        pieces_alone<256><<<1, 64, 0, stream>>>(rows, starts, head_dim, pieces);
    }
    return cudaGetLastError();
}
