// The check calls flash_attention_6_overlap, too, and no other launcher of the engine.
// consume by itself, of `uses` tiles of queries that see no key. Each slot of both rings has a producer of its own, which
// waits for that slot alone: it fills it as early as it may. All keys and values are 0.
__global__ void consume_kernel(__half* out, int uses, Problem problem, Schedule schedule) {
    extern __shared__ __align__(1024) char memory[];
    Shared<64>& shared = *reinterpret_cast<Shared<64>*>(memory);
    if (threadIdx.x == 0) {
        shared.ring.init(1, CONSUMERS<64>);
        shared.queries_ring.init(1, CONSUMERS<64> * WARPGROUP / 32);
        yaie::fence_mbarrier_init();
    }
    for (int i = threadIdx.x; i < static_cast<int>(sizeof(shared.queries) + sizeof(shared.slots)); i += blockDim.x) {
        memory[i] = 0;
    }
    yaie::fence_proxy_async();
    __syncthreads();
    if (threadIdx.x >= WARPGROUP) {
        consume<__half, 64, false>(shared, out, problem, schedule);
    } else if (threadIdx.x % 32 == 0 && threadIdx.x / 32 < QUERY_SLOTS) {
        for (int n = threadIdx.x / 32; n <= uses; n += QUERY_SLOTS) {
            yaie::mbarrier_wait(&shared.queries_ring.empty[n % QUERY_SLOTS], n / QUERY_SLOTS % 2 ^ 1);
            Queries queries{};
            queries.first_q = n * ROWS<64>;
            queries.num_rows = n < uses ? ROWS<64> : 0;
            shared.next[n % QUERY_SLOTS] = queries;
            yaie::mbarrier_arrive(&shared.queries_ring.full[n % QUERY_SLOTS]);
        }
    } else if (threadIdx.x % 32 == 1) {
        for (int n = threadIdx.x / 32; n < 2 * uses; n += SLOTS) {  // a tile of keys and one of values for each use
            shared.ring.wait_empty(n);
            yaie::mbarrier_arrive(&shared.ring.full[n % SLOTS]);
        }
    }
}

extern "C" int consume_alone(__half* out, int uses, cudaStream_t stream) {
    const Problem problem = {nullptr, nullptr, 1, 1, 64, 0.125f, false};
    const Schedule schedule = {nullptr, 1, 1, 1, KEYS, 1};
    const cudaError_t error = allow_shared_memory(consume_kernel, sizeof(Shared<64>));
    if (error) {
        return error;
    }
    consume_kernel<<<1, THREADS<64>, sizeof(Shared<64>), stream>>>(out, uses, problem, schedule);
    return cudaGetLastError();
}
