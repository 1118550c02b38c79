// expect: A tile that all rows see needs no mask
template <int TILE, typename T>
__device__ Tiles tiles_that_matter(const Head<T>& head, int first_row) {
    Tiles tiles;
    tiles.to_visit = (head.visible_keys(first_row + TILE - 1) + TILE - 1) / TILE;
    tiles.seen_by_all = 0;
    return tiles;
}
