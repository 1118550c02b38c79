// expect: tile 3 may be read already
template <typename StartTile>
__device__ __forceinline__ void next_tile(int tile, int num_tiles, StartTile start_tile) {
    yaie::cp_async_wait<0>();
    __syncthreads();
    if (tile + 1 < num_tiles) {
        start_tile(tile + 1);
        yaie::cp_async_commit();
        if (tile > 0) yaie::cp_async_wait<0>();
    }
}
