// For many rows of tokens at once: how far does a radix tree know them?
//
// The tree is flat, as yaie/kernels/radix_ops.py lays it out: the edge of node i is edges[starts[i]] up to
// edges[starts[i + 1] - 1], its children are the nodes children[i] up to children[i + 1] - 1, in the order of the first
// pages of their edges. Node 0 is the root.
//
// tokens: [num_rows, max_len], of which row r has lengths[r]
// positions: [3, num_rows]: the node in which the walk of a row ended, how many tokens of its edge matched, and
//     how many tokens matched in all. Only whole pages count.
//
// 1 match_prefixes_1_thread   a thread walks for a row. Neighbouring threads read far apart, 32 sectors for a
//                             request, and the warp is as slow as its longest match.
// 2 match_prefixes_2_warp     a warp walks for a row and compares 32 contiguous tokens at once.
//
// Measured on an H100 (yaie/bench/results), prompts of 1,663 tokens: 1 row in 146 us (rung 1) and 19 us (rung 2), 1,024
// rows in 795 us and 34 us. The CPU's own tree, asked one by one, takes 17 us and 12,400 us. One request at a time,
// there is nothing to be gained; and the tree must be flattened and copied first.
#include "../common.cuh"

constexpr int THREADS = 128;

struct Tree {
    const int64_t *edges, *starts, *children;
    int page_size;
};

// How many tokens a and b have in common from the start, of `count`. This thread alone.
__device__ int64_t common_prefix_of_thread(const int64_t* a, const int64_t* b, int64_t count) {
    int64_t same = 0;
    while (same < count && a[same] == b[same]) {
        ++same;
    }
    return same;
}

// How many tokens a and b have in common from the start, of `count`. All 32 lanes of a warp call it with the same
// arguments and all get the answer. 32 neighbouring tokens are compared at a time, and none after those that hold the
// first difference. Neither a[count] nor b[count] may be read.
__device__ int64_t common_prefix_of_warp(const int64_t* a, const int64_t* b, int64_t count) {
    const int lane = threadIdx.x % 32;
    for (int64_t first = 0; first < count; first += 32) {
        const int64_t i = first + lane;
        const unsigned differ = __ballot_sync(FULL_WARP, i < count && a[i] != b[i]);
        if (differ != 0) {
            return first + __ffs(differ) - 1;
        }
    }
    return count;
}

// One row by one thread (LANES = 1) or by one warp (32).
template <int LANES>
__device__ int64_t common_prefix(const int64_t* a, const int64_t* b, int64_t count) {
    return LANES == 1 ? common_prefix_of_thread(a, b, count) : common_prefix_of_warp(a, b, count);
}

// The child of `node` whose edge begins with `page`, by bisection; -1 if there is none.
template <int LANES>
__device__ int64_t find_child(const Tree& tree, int64_t node, const int64_t* page) {
    int64_t low = tree.children[node], high = tree.children[node + 1];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int64_t* first = tree.edges + tree.starts[middle];
        const int64_t same = common_prefix<LANES>(first, page, tree.page_size);
        if (same == tree.page_size) {
            return middle;
        }
        if (first[same] < page[same]) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return -1;
}

template <int LANES>
__global__ void match_prefixes_kernel(Tree tree, const int64_t* tokens, const int64_t* lengths, int64_t* positions,
                                      int num_rows, int64_t max_len) {
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    if (row >= num_rows) {
        return;  // for a whole warp at once where a warp has a row
    }
    const int64_t* rest = tokens + row * max_len;
    const int64_t count = lengths[row];
    int64_t node = 0, inside = 0, length = 0;
    while (count - length >= tree.page_size) {
        const int64_t child = find_child<LANES>(tree, node, rest);
        if (child < 0) {
            break;
        }
        const int64_t edge = tree.starts[child + 1] - tree.starts[child];
        inside = common_prefix<LANES>(tree.edges + tree.starts[child], rest, min(edge, count - length));
        inside -= inside % tree.page_size;
        node = child;
        length += inside;
        rest += inside;
        if (inside < edge) {
            break;
        }
    }
    if (threadIdx.x % LANES == 0) {
        positions[row] = node;
        positions[num_rows + row] = inside;
        positions[2 * num_rows + row] = length;
    }
}

template <int LANES>
static int launch_match(const int64_t* edges, const int64_t* starts, const int64_t* children, int page_size,
                        const int64_t* tokens, const int64_t* lengths, int64_t* positions, int num_rows,
                        int64_t max_len, cudaStream_t stream) {
    if (num_rows == 0) {
        return cudaSuccess;
    }
    const Tree tree = {edges, starts, children, page_size};
    const int64_t blocks = (static_cast<int64_t>(num_rows) * LANES + THREADS - 1) / THREADS;
    match_prefixes_kernel<LANES><<<blocks, THREADS, 0, stream>>>(tree, tokens, lengths, positions, num_rows, max_len);
    return cudaGetLastError();
}

extern "C" int match_prefixes_1_thread(const int64_t* edges, const int64_t* starts, const int64_t* children,
                                       int page_size, const int64_t* tokens, const int64_t* lengths,
                                       int64_t* positions, int num_rows, int64_t max_len, cudaStream_t stream) {
    return launch_match<1>(edges, starts, children, page_size, tokens, lengths, positions, num_rows, max_len, stream);
}

extern "C" int match_prefixes_2_warp(const int64_t* edges, const int64_t* starts, const int64_t* children,
                                     int page_size, const int64_t* tokens, const int64_t* lengths, int64_t* positions,
                                     int num_rows, int64_t max_len, cudaStream_t stream) {
    return launch_match<32>(edges, starts, children, page_size, tokens, lengths, positions, num_rows, max_len, stream);
}
