// expect: A row sees keys of a tile that is left out
template <int TILE, typename T>
__device__ Tiles tiles_that_matter(const Head<T>& head, int first_row) {
    return {head.visible_keys(first_row) / TILE, (head.visible_keys(first_row + TILE - 2) + TILE - 1) / TILE};
}
