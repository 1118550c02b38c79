// expect: the next tile's copy is not in flight when `next_tile` returns
template <typename StartTile>
__device__ __forceinline__ void next_tile(int tile, int num_tiles, StartTile start_tile) {
    yaie::cp_async_wait<0>();
    __syncthreads();
    if (tile + 1 < num_tiles) {
        start_tile(tile + 1);
        yaie::cp_async_commit();
        yaie::cp_async_wait<0>();
    }
}
