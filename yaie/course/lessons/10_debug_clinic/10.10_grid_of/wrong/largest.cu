// expect: size of the grid
static dim3 grid_of(int rows, int cols) {
    const int most = rows > cols ? rows : cols;
    return dim3((most + TILE - 1) / TILE, (most + TILE - 1) / TILE);
}
