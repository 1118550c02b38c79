// expect: the copy of tile 1 has not been started
template <typename StartTile>
__device__ __forceinline__ void next_tile(int tile, int num_tiles, StartTile start_tile) {
    __syncthreads();
    if (tile > 0) start_tile(tile);
    yaie::cp_async_commit();
    yaie::cp_async_wait<0>();
    __syncthreads();
}
