// expect: Only the last tile is masked
template <int TILE, typename T>
__device__ Tiles tiles_that_matter(const Head<T>& head, int first_row) {
    Tiles tiles;
    tiles.to_visit = (head.visible_keys(first_row + TILE - 1) + TILE - 1) / TILE;
    tiles.seen_by_all = max(tiles.to_visit - 1, 0);  // two tiles need the mask where the offset is no multiple of TILE
    return tiles;
}
