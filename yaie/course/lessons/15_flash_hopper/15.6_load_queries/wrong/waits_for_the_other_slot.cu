// expect: Nobody has ever arrived at `queries_ring.empty[0]`
template <int HEAD_DIM>
__device__ __forceinline__ const Queries& load_queries(Shared<HEAD_DIM>& shared, const CUtensorMap& map,
                                                       const Queries& next, unsigned n, int pack) {
    const int slot = n % QUERY_SLOTS;
    if (threadIdx.x == 0) {
        shared.queries_ring.wait_empty(n + 1);
        shared.next[slot] = next;
        start_queries(shared, map, next, slot, pack);
    }
    yaie::named_barrier_sync(PRODUCER_BARRIER, WARPGROUP);
    return shared.next[slot];
}
