// expect: Nobody has ever arrived at `queries_ring.empty[0]`
template <int HEAD_DIM>
__device__ __forceinline__ const Queries& load_queries(Shared<HEAD_DIM>& shared, const CUtensorMap& map,
                                                       const Queries& next, unsigned n, int pack) {
    constexpr int PARTS = HEAD_DIM / PART, rows = ROWS<HEAD_DIM>;
    const int slot = n % QUERY_SLOTS;
    shared.queries_ring.wait_empty(n + 1);
    if (threadIdx.x == 0) {
        shared.next[slot] = next;
    }
    yaie::named_barrier_sync(PRODUCER_BARRIER, WARPGROUP);
    const Queries& queries = shared.next[slot];
    uint64_t* full = &shared.queries_ring.full[slot];
    if (threadIdx.x == 0 && queries.num_rows > 0) {
        yaie::mbarrier_arrive_expect_tx(full, PARTS * (rows / pack * pack) * PART_BYTES);
        for (int part = 0; part < PARTS; ++part) {
            yaie::tma_load(shared.queries[slot] + part * (rows * PART_BYTES), &map, full, 0, 0, queries.first_q,
                           queries.head * PARTS + part);
        }
    } else if (threadIdx.x % 32 == 0) {
        yaie::mbarrier_arrive(full);
    }
    return queries;
}
