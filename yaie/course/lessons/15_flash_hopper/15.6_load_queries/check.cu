// The check calls flash_attention_6_overlap, too, and no other launcher of the engine.
// load_queries by itself: returned [uses][128] are the first queries that each thread of the producer got, published
// [uses] those that the consumer found. One thread is the consumer: it releases a tile when it has the next one, too.
__global__ void load_queries_kernel(const __grid_constant__ CUtensorMap map, int* returned, int* published, int uses) {
    extern __shared__ __align__(1024) char memory[];
    Shared<64>& shared = *reinterpret_cast<Shared<64>*>(memory);
    if (threadIdx.x == 0) {
        shared.queries_ring.init(PRODUCER_WARPS, 1);
        yaie::fence_mbarrier_init();
    }
    __syncthreads();
    if (threadIdx.x < WARPGROUP) {
        for (int n = 0; n < uses; ++n) {
            Queries next{};
            if (threadIdx.x == 0) {
                next.first_q = n * ROWS<64>;
                next.num_rows = ROWS<64>;
            }
            const Queries& queries = load_queries<64>(shared, map, next, n, 1);
            returned[n * WARPGROUP + threadIdx.x] = queries.first_q;
        }
    } else if (threadIdx.x == WARPGROUP) {
        for (int n = 0; n < uses; ++n) {
            yaie::mbarrier_wait(&shared.queries_ring.full[n % QUERY_SLOTS], n / QUERY_SLOTS % 2);
            published[n] = shared.next[n % QUERY_SLOTS].first_q;
            if (n > 0) {
                yaie::mbarrier_arrive(&shared.queries_ring.empty[(n - 1) % QUERY_SLOTS]);
            }
        }
    }
}

extern "C" int load_queries_alone(const __half* query, int* returned, int* published, int uses, cudaStream_t stream) {
    CUtensorMap map;
    const uint64_t rows = static_cast<uint64_t>(uses) * ROWS<64>;
    cudaError_t error = yaie::tensor_map(&map, query, {PART, 1, rows, 1}, {PART_BYTES, PART_BYTES, PART_BYTES},
                                         {PART, 1, ROWS<64>, 1}, CU_TENSOR_MAP_SWIZZLE_128B);
    error = error ? error : allow_shared_memory(load_queries_kernel, sizeof(Shared<64>));
    if (error) {
        return error;
    }
    load_queries_kernel<<<1, 2 * WARPGROUP, sizeof(Shared<64>), stream>>>(map, returned, published, uses);
    return cudaGetLastError();
}
