// expect: 64 queries and 100 keys, causal; rows 32 to 63, tiles of 32 keys
template <int TILE, typename T>
__device__ Tiles tiles_that_matter(const Head<T>& head, int first_row) {
    return {head.visible_keys(first_row) / 64, (head.visible_keys(first_row + 63) + 63) / 64};
}
