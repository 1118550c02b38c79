__device__ __forceinline__ void meet_all_copies() {
    yaie::cp_async_commit();
    yaie::cp_async_wait<0>();
    __syncthreads();
}

template <typename StartTile>
__device__ __forceinline__ void next_tile(int tile, int num_tiles, StartTile start_tile) {
    meet_all_copies();
    if (tile < num_tiles - 1) start_tile(tile + 1);
}
