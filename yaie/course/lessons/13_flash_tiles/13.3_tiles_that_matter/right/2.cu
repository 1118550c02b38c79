template <int TILE, typename T>
__device__ Tiles tiles_that_matter(const Head<T>& head, int first_row) {
    const int few = head.visible_keys(first_row);
    const int many = head.visible_keys(min(first_row + TILE, head.q_len) - 1);
    Tiles tiles = {0, 0};
    for (int end = TILE; end <= few; end += TILE) {
        tiles.seen_by_all += 1;
    }
    for (int begin = 0; begin < many; begin += TILE) {
        tiles.to_visit += 1;
    }
    return tiles;
}
