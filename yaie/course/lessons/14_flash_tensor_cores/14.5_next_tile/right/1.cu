template <typename StartTile>
__device__ __forceinline__ void next_tile(int tile, int num_tiles, StartTile start_tile) {
    const int next = tile + 1;
    yaie::cp_async_wait<0>();
    __syncthreads();
    if (next >= num_tiles) return;
    start_tile(next);
    yaie::cp_async_commit();
}
