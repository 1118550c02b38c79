// Exercises of lesson 08: A first CUDA kernel.
//
// Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
// `yaie.exercise("8.1").check()` in the notebook, or `yaie check 8.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. You may add helper functions and constants of your own.
// generated, text hash 95efd02fe0a37634

// ==================== csrc/warmup/vector_add.cu ====================
//
// Warm-up: one thread per element, then a grid-stride loop.
//
// 1 add_guarded       one thread adds one element; the last block has more threads than elements
// 2 add_grid_stride   any grid adds any number of elements

// ---------- Exercise 8.1: One thread per element (about 10 minutes) ----------
// Launched by `vector_add`: add_guarded<<<blocks, threads, 0, stream>>>(a, b, c, n)
//
// Write `c[i] = a[i] + b[i]` for every i from 0 to n - 1, with one thread for each element.
//
// `a`, `b` and `c` are vectors of n floats. The launcher starts blocks of 256 threads and rounds
// their number up. A thread that has no element must not touch memory.
//
// | n | blocks | threads that add | threads with nothing to do |
// |---|---|---|---|
// | 5 | 1 | 0 to 4 | 5 to 255 |
// | 256 | 1 | 0 to 255 | none |
// | 257 | 2 | all of block 0, thread 0 of block 1 | 1 to 255 of block 1 |
__global__ void add_guarded(const float* a, const float* b, float* c, int64_t n) {
    // exercise 8.1: write this function
}

// ---------- Exercise 8.2: Any grid, any number of elements (about 10 minutes) ----------
// Launched by `vector_add_grid_stride`: add_grid_stride<<<blocks, 256, 0, stream>>>(a, b, c, n)
//
// Write `c[i] = a[i] + b[i]` for every i from 0 to n - 1, whatever grid is launched: with fewer
// threads than elements, with as many, or with more. Every element is written by one thread only.
//
// `a`, `b` and `c` are vectors of n floats. Thread t of the T threads in the grid takes the elements
// t, t + T, t + 2 T and so on, as long as they are below n.
//
// | blocks of 256 | T | n | thread | its elements |
// |---|---|---|---|---|
// | 2 | 512 | 1100 | 3 | 3, 515, 1027 |
// | 2 | 512 | 1100 | 500 | 500, 1012 |
// | 3 | 768 | 5 | 4 | 4 |
// | 3 | 768 | 5 | 5 | none |
__global__ void add_grid_stride(const float* a, const float* b, float* c, int64_t n) {
    // exercise 8.2: write this function
}
