template <int TILE, typename T>
__device__ Tiles tiles_that_matter(const Head<T>& head, int first_row) {
    Tiles tiles;
    const int seen = head.visible_keys(first_row + TILE - 1);
    tiles.to_visit = seen / TILE + (seen % TILE > 0);
    tiles.seen_by_all = 0;
    while (tiles.seen_by_all < tiles.to_visit && head.visible_keys(first_row) >= TILE * (tiles.seen_by_all + 1)) {
        ++tiles.seen_by_all;
    }
    return tiles;
}
