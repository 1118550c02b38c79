// The sum of one small tensor of each of several GPUs, on all of them, by one kernel on each, which reads the memory of
// the others (one-shot all-reduce). The kernels run at the same time and wait for each other.
//
// x, out: num_bytes of elements, a multiple of 16 and at most PLACE_BYTES; out may be x
// memory_0 ... memory_7: for each rank memory that all of them reach, zeros at first: FLAG_BYTES, then two times
//     PLACE_BYTES; null beyond the last rank. The ranks call this with the same shapes in the same order.
// turns: [MOST_BLOCKS], zeros at first, of this rank: how often each of its thread blocks has run
//
// Thread block b of every rank has the same 4 KB. It copies those of x to its own memory, tells all ranks, waits for
// word of all, and then adds what lies in their memory. There are two places for the copies, which take turns: a rank
// that writes to one of them has heard in between of a turn that the others began after they had read it. So one wait is
// enough. All ranks add in the same order, in float32, and get the same bits.
//
// A ring (NCCL's, with two ranks as well) waits for its neighbours several times, and what it saves in traffic is
// nothing where tensors are small: in a decode step of 64 requests half a megabyte.
#include "../common.cuh"

constexpr int THREADS = 256, MOST_BLOCKS = 256, MOST_RANKS = 8;
constexpr int PACK_BYTES = 16, PLACE_BYTES = MOST_BLOCKS * THREADS * PACK_BYTES;  // 1 MiB
constexpr int FLAG_BYTES = MOST_BLOCKS * MOST_RANKS * 4;

struct Memory {
    uint8_t* of[MOST_RANKS];
};

template <typename T>
struct alignas(PACK_BYTES) Pack {
    static constexpr int SIZE = PACK_BYTES / sizeof(T);
    T at[SIZE];
};

// The last turn of which `rank` told thread block `block` of whoever this memory belongs to.
__device__ volatile unsigned* flag(uint8_t* memory, int block, int rank) {
    return reinterpret_cast<volatile unsigned*>(memory) + block * MOST_RANKS + rank;
}

template <typename T>
__device__ Pack<T>* place(uint8_t* memory, unsigned turn) {
    return reinterpret_cast<Pack<T>*>(memory + FLAG_BYTES + turn % 2 * PLACE_BYTES);
}

// Thread r tells rank r and waits for word of it: what its thread block has written can be read there, and the other way
// round. Turns are compared by their difference: their number may overflow.
__device__ void meet(const Memory& memory, unsigned turn, int rank, int num_ranks) {
    __syncthreads();
    if (threadIdx.x < num_ranks) {
        __threadfence_system();
        *flag(memory.of[threadIdx.x], blockIdx.x, rank) = turn;
        while (static_cast<int>(*flag(memory.of[rank], blockIdx.x, threadIdx.x) - turn) < 0) {
        }
        __threadfence_system();
    }
    __syncthreads();
}

template <typename T>
__global__ void __launch_bounds__(THREADS)
sum_over_ranks_kernel(const Pack<T>* x, Pack<T>* out, Memory memory, unsigned* turns, int rank, int num_ranks,
                      int num_packs) {
    const int i = blockIdx.x * THREADS + threadIdx.x;
    const unsigned turn = turns[blockIdx.x] + 1;
    if (i < num_packs) {
        place<T>(memory.of[rank], turn)[i] = x[i];
    }
    meet(memory, turn, rank, num_ranks);
    if (threadIdx.x == 0) {
        turns[blockIdx.x] = turn;
    }
    if (i >= num_packs) {
        return;
    }
    Pack<T> parts[MOST_RANKS];  // all are on their way before the first is added
#pragma unroll
    for (int r = 0; r < MOST_RANKS; ++r) {
        if (r < num_ranks) {
            parts[r] = place<T>(memory.of[r], turn)[i];
        }
    }
    float sum[Pack<T>::SIZE] = {};
#pragma unroll
    for (int r = 0; r < MOST_RANKS; ++r) {
        for (int e = 0; r < num_ranks && e < Pack<T>::SIZE; ++e) {
            sum[e] += to_float(parts[r].at[e]);
        }
    }
    for (int e = 0; e < Pack<T>::SIZE; ++e) {
        out[i].at[e] = from_float<T>(sum[e]);
    }
}

extern "C" int sum_over_ranks(const void* x, void* out, uint8_t* memory_0, uint8_t* memory_1, uint8_t* memory_2,
                              uint8_t* memory_3, uint8_t* memory_4, uint8_t* memory_5, uint8_t* memory_6,
                              uint8_t* memory_7, unsigned* turns, int rank, int num_ranks, int num_bytes, int dtype,
                              cudaStream_t stream) {
    const int num_packs = num_bytes / PACK_BYTES, num_blocks = (num_packs + THREADS - 1) / THREADS;
    if (num_bytes % PACK_BYTES != 0 || num_blocks > MOST_BLOCKS || num_ranks > MOST_RANKS) {
        return cudaErrorInvalidValue;
    }
    if (num_blocks == 0) {
        return cudaSuccess;
    }
    const Memory memory = {memory_0, memory_1, memory_2, memory_3, memory_4, memory_5, memory_6, memory_7};
    return dispatch_dtype(dtype, [&](auto* type) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        sum_over_ranks_kernel<T><<<num_blocks, THREADS, 0, stream>>>(
            static_cast<const Pack<T>*>(x), static_cast<Pack<T>*>(out), memory, turns, rank, num_ranks, num_packs);
        return cudaGetLastError();
    });
}
