template <typename StartTile>
__device__ __forceinline__ void next_tile(int tile, int num_tiles, StartTile start_tile) {
    __syncthreads();  // the stage of the last tile is free
    if (tile + 1 < num_tiles) {
        start_tile(tile + 1);
    }
    yaie::cp_async_commit();  // an empty group at the end, so that there is always one to leave in flight
    yaie::cp_async_wait<1>();
    __syncthreads();  // all threads' copies of this tile have landed
}
