static dim3 grid_of(int rows, int cols) {
    dim3 grid;
    grid.x = (cols - 1) / TILE + 1;
    grid.y = (rows - 1) / TILE + 1;
    return grid;
}
