static int tiles(int n) { return n / TILE + (n % TILE != 0); }

static dim3 grid_of(int rows, int cols) { return dim3(tiles(cols), tiles(rows)); }
