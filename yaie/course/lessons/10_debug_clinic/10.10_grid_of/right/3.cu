static dim3 grid_of(int rows, int cols) {
    const unsigned int down = (rows + TILE - 1) / TILE;
    const unsigned int across = (cols + TILE - 1) / TILE;
    return {across, down, 1};
}
