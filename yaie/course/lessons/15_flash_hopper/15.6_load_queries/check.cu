// The check calls flash_attention_6_overlap, too, and no other launcher of the engine.
// load_queries by itself, of head 1 of two heads of 128 columns: returned [uses][128] are the first queries that each
// thread of the producer got, published [uses][3] those that the consumer found, and the first element of both parts of
// their tile. One thread is the consumer: it releases a tile when it has the next one, too. It arrives at `full` as the
// producer does, so that no odd number of phases looks like one.
__global__ void load_queries_kernel(const __grid_constant__ CUtensorMap map, int* returned, int* published, int uses) {
    extern __shared__ __align__(1024) char memory[];
    Shared<128>& shared = *reinterpret_cast<Shared<128>*>(memory);
    if (threadIdx.x == 0) {
        shared.queries_ring.init(2, 1);
        yaie::fence_mbarrier_init();
    }
    __syncthreads();
    if (threadIdx.x < WARPGROUP) {
        for (int n = 0; n < uses; ++n) {
            Queries next{};
            if (threadIdx.x == 0) {
                next.first_q = n * ROWS<128>;
                next.head = 1;
                next.num_rows = ROWS<128>;
            }
            const Queries& queries = load_queries<128>(shared, map, next, n, 1);
            returned[n * WARPGROUP + threadIdx.x] = queries.first_q;
        }
    } else if (threadIdx.x == WARPGROUP) {
        for (int n = 0; n < uses; ++n) {
            yaie::mbarrier_arrive(&shared.queries_ring.full[n % QUERY_SLOTS]);
            yaie::mbarrier_wait(&shared.queries_ring.full[n % QUERY_SLOTS], n / QUERY_SLOTS % 2);
            published[3 * n] = shared.next[n % QUERY_SLOTS].first_q;
            for (int part = 0; part < 2; ++part) {
                const char* first = shared.queries[n % QUERY_SLOTS] + part * (ROWS<128> * PART_BYTES);
                published[3 * n + 1 + part] = static_cast<int>(__half2float(*reinterpret_cast<const __half*>(first)));
            }
            if (n > 0) {
                yaie::mbarrier_arrive(&shared.queries_ring.empty[(n - 1) % QUERY_SLOTS]);
            }
        }
    }
}

extern "C" int load_queries_alone(const __half* query, int* returned, int* published, int uses, cudaStream_t stream) {
    CUtensorMap map;
    const uint64_t rows = static_cast<uint64_t>(uses) * ROWS<128>;
    cudaError_t error = yaie::tensor_map(&map, query, {PART, 1, rows, 4}, {256, 512, PART_BYTES},
                                         {PART, 1, ROWS<128>, 1}, CU_TENSOR_MAP_SWIZZLE_128B);
    error = error ? error : allow_shared_memory(load_queries_kernel, sizeof(Shared<128>));
    if (error) {
        return error;
    }
    load_queries_kernel<<<1, 2 * WARPGROUP, sizeof(Shared<128>), stream>>>(map, returned, published, uses);
    return cudaGetLastError();
}
