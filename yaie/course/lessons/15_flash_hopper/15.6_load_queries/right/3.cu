template <int HEAD_DIM, int KEYS>
__device__ __forceinline__ Queries load_queries(Shared<HEAD_DIM, KEYS>& shared, const CUtensorMap& map,
                                                const Queries& next, unsigned n, int pack) {
    constexpr int PARTS = HEAD_DIM / PART;
    shared.queries_ring.wait_empty(n);
    if (threadIdx.x == 0) {
        shared.next = next;
        yaie::named_barrier_sync(PRODUCER_BARRIER, WARPGROUP);
    } else {
        yaie::named_barrier_sync(PRODUCER_BARRIER, WARPGROUP);
    }
    const Queries queries = shared.next;
    __syncwarp();
    uint64_t* full = &shared.queries_ring.full[0];
    if (threadIdx.x == 0 && queries.num_rows > 0) {
        yaie::mbarrier_arrive_expect_tx(full, PARTS * (ROWS / pack * pack) * PART_BYTES);
        for (int part = 0; part < PARTS; ++part) {
            yaie::tma_load(shared.queries + part * (ROWS * PART_BYTES), &map, full, 0, 0, queries.first_q,
                           queries.head * PARTS + part);
        }
    } else if (threadIdx.x % 32 == 0) {
        yaie::mbarrier_arrive(full);
    }
    return queries;
}
