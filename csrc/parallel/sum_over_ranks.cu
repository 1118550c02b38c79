// The sum of one small tensor of each of several GPUs, on all of them, by one kernel on each, which reads the memory of
// the others (one-shot all-reduce). The kernels run at the same time and wait for each other.
//
// x, out: num_bytes of elements, a multiple of 16 and at most PLACE_BYTES; out may be x
// memory_0 ... memory_7: for each rank memory that all of them reach, zeros at first: FLAG_BYTES, `stop`, and after
//     HEAD_BYTES two times PLACE_BYTES; null beyond the last rank
// The ranks call this with the same shapes in the same order.
//
// Thread block b of every rank has the same 4 KB. It copies those of x to its own memory, tells all ranks, waits for
// word of all, and then adds what lies in their memory. There are two places for the copies, which take turns: a rank
// that writes to one of them has heard in between of a turn that the others began after they had read it. So one wait is
// enough. All ranks add in the same order, in float32, and get the same bits.
//
// A ring (NCCL's, with two ranks as well) waits for its neighbours several times, and what it saves in traffic is
// nothing where tensors are small: in a decode step of 64 requests half a megabyte.
#include "../model_ops/packs.cuh"

constexpr int THREADS = 256, MOST_BLOCKS = 256, MOST_RANKS = 8;
constexpr int PACK_BYTES = 16, PLACE_BYTES = MOST_BLOCKS * THREADS * PACK_BYTES;  // 1 MiB
constexpr int FLAG_BYTES = MOST_BLOCKS * MOST_RANKS * 4, HEAD_BYTES = FLAG_BYTES + PACK_BYTES;

struct Memory {
    uint8_t* of[MOST_RANKS];
};

// The last turn of which `rank` told thread block `block` of whoever this memory belongs to.
__device__ volatile unsigned* flag(uint8_t* memory, int block, int rank) {
    return reinterpret_cast<volatile unsigned*>(memory) + block * MOST_RANKS + rank;
}

// Not 0: a rank has died, nobody is waited for any more, and the sums are of no use.
__device__ volatile unsigned* stop(uint8_t* memory) { return reinterpret_cast<volatile unsigned*>(memory + FLAG_BYTES); }

template <typename P>
__device__ P* place(uint8_t* memory, unsigned turn) {
    return reinterpret_cast<P*>(memory + HEAD_BYTES + turn % 2 * PLACE_BYTES);
}

// Thread r tells rank r and waits for word of it: what its thread block has written can be read there, and the other way
// round. Turns are compared by their difference: their number may overflow.
__device__ void meet(const Memory& memory, unsigned turn, int rank, int num_ranks) {
    __syncthreads();
    if (threadIdx.x < num_ranks) {
        __threadfence_system();
        *flag(memory.of[threadIdx.x], blockIdx.x, rank) = turn;
        bool waits = true;
        while (waits) {  // both reads are under way at once
            const unsigned heard = *flag(memory.of[rank], blockIdx.x, threadIdx.x), stopped = *stop(memory.of[rank]);
            waits = static_cast<int>(heard - turn) < 0 && stopped == 0;
        }
        __threadfence_system();
    }
    __syncthreads();
}

template <typename T, int N>
__global__ void __launch_bounds__(THREADS)
sum_over_ranks_kernel(const Pack<T, N>* x, Pack<T, N>* out, const __grid_constant__ Memory memory, int rank,
                      int num_ranks, int num_packs) {
    const int i = blockIdx.x * THREADS + threadIdx.x;
    const unsigned turn = *flag(memory.of[rank], blockIdx.x, rank) + 1;  // what this rank told itself
    if (i < num_packs) {
        place<Pack<T, N>>(memory.of[rank], turn)[i] = x[i];
    }
    meet(memory, turn, rank, num_ranks);
    if (i >= num_packs) {
        return;
    }
    Pack<T, N> parts[MOST_RANKS];  // all are on their way before the first is added
#pragma unroll
    for (int r = 0; r < MOST_RANKS; ++r) {
        if (r < num_ranks) {
            parts[r] = place<Pack<T, N>>(memory.of[r], turn)[i];
        }
    }
    float sum[N] = {};
#pragma unroll
    for (int r = 0; r < MOST_RANKS; ++r) {
        for (int e = 0; r < num_ranks && e < N; ++e) {
            sum[e] += to_float(parts[r].at[e]);
        }
    }
    for (int e = 0; e < N; ++e) {
        parts[0].at[e] = from_float<T>(sum[e]);
    }
    out[i] = parts[0];
}

extern "C" int sum_over_ranks(const void* x, void* out, uint8_t* memory_0, uint8_t* memory_1, uint8_t* memory_2,
                              uint8_t* memory_3, uint8_t* memory_4, uint8_t* memory_5, uint8_t* memory_6,
                              uint8_t* memory_7, int rank, int num_ranks, int num_bytes, int dtype,
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
        using P = Pack<T, PACK_BYTES / sizeof(T)>;
        sum_over_ranks_kernel<<<num_blocks, THREADS, 0, stream>>>(static_cast<const P*>(x), static_cast<P*>(out), memory,
                                                                  rank, num_ranks, num_packs);
        return cudaGetLastError();
    });
}
