// Exercises of lesson 08: A first CUDA kernel.
//
// Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
// `yaie.exercise("8.1").check()` in the notebook, or `yaie check 8.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. Helper functions and constants of your own may stand here.
// generated, text hash 8bb015a8028ae6d7

// ==================== csrc/warmup/vector_add.cu ====================
//
// Warm-up: one thread per element, then a grid-stride loop.
//
// 1 add_guarded       one thread adds one element; the last block has threads too many, so each looks whether it has one
// 2 add_grid_stride   any grid adds any number of elements: each thread goes on in steps of the whole grid

// ---------- Exercise 8.1: One thread per element (about 10 minutes) ----------
// Launched by `vector_add`: add_guarded<<<blocks, threads, 0, stream>>>(a, b, c, n)
//
// Add two vectors: thread number i of the grid computes element i. The grid is rounded up to whole blocks of 256
// threads, so the last block has threads too many; those must do nothing. With n = 5, threads 0 to 4 add one element
// each and threads 5 to 255 none.
__global__ void add_guarded(const float* a, const float* b, float* c, int64_t n) {
    // exercise 8.1: write this function
}

// ---------- Exercise 8.2: Any grid, any number of elements (about 10 minutes) ----------
// Launched by `vector_add_grid_stride`: add_grid_stride<<<blocks, 256, 0, stream>>>(a, b, c, n)
//
// Add two vectors with a grid that somebody else has chosen. Thread number t of the T threads in the grid takes the
// elements t, t + T, t + 2 T and so on, while they are below n. With T = 512 and n = 1100, thread 3 takes the elements
// 3, 515 and 1027, and thread 500 takes 500 and 1012.
__global__ void add_grid_stride(const float* a, const float* b, float* c, int64_t n) {
    // exercise 8.2: write this function
}
