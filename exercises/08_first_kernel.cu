// Exercises of lesson 08: A first CUDA kernel.
//
// Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
// `yaie.exercise("8.1").check()` in the notebook, or `yaie check 8.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// Launchers and includes are the engine's own, too. Helper functions and constants of yours may stand here.
// generated, text hash 2e9d918bec289866

// ==================== csrc/warmup/vector_add.cu ====================
//
// Warm-up: one thread per element, then a grid-stride loop.
//
// 1 add_guarded       one thread adds one element; the last block has threads too many, so each looks whether it has one
// 2 add_grid_stride   any grid adds any number of elements: each thread goes on in steps of the whole grid

// ---------- Exercise 8.1: One thread per element (about 10 minutes) ----------
// Launched by `vector_add`: add_guarded<<<blocks, threads, 0, stream>>>(a, b, c, n)
//
// c[i] = a[i] + b[i] for 0 <= i < n, with at least n threads in the grid. A thread without an element does nothing.
__global__ void add_guarded(const float* a, const float* b, float* c, int64_t n) {
    // exercise 8.1: write this function
}

// ---------- Exercise 8.2: Any grid, any number of elements (about 10 minutes) ----------
// Launched by `vector_add_grid_stride`: add_grid_stride<<<blocks, 256, 0, stream>>>(a, b, c, n)
//
// c[i] = a[i] + b[i] for 0 <= i < n, with any number of threads: thread t takes the elements t, t + T, t + 2 T, ...,
// where T is the number of threads in the grid.
__global__ void add_grid_stride(const float* a, const float* b, float* c, int64_t n) {
    // exercise 8.2: write this function
}
