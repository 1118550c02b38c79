// expect: come too early or too often
template <typename T, int HEAD_DIM, bool PAGED>
__device__ __forceinline__ void consume(Shared<HEAD_DIM>& shared, T* out, const Problem& problem,
                                        const Schedule& schedule) {
    const int pack = PAGED ? schedule.pack : 1;
    // By a shuffle, from which the compiler sees that all lanes have the same: descriptors are for a whole warp.
    const int number = __shfl_sync(FULL_WARP, threadIdx.x / WARPGROUP - 1, 0);
    Consumer<T, HEAD_DIM, PAGED> consumer = {shared, number, PAGED && schedule.box_keys == 0, problem.scale * LOG2_E,
                                               1.0f / pack};
    if (number == CONSUMERS<HEAD_DIM> - 1) {
        consumer.pass_turn();  // the first begins
    }
    for (unsigned n = 0;; ++n) {
        shared.queries_ring.wait_full(n);
        const Queries queries = shared.next[n % QUERY_SLOTS];
        if (queries.num_rows == 0) {
            break;
        }
        float sums[HEAD_DIM / 2] = {};
        RunningRows running;
        const int num_tiles = queries.template num_tiles<KEYS>(pack);
        if (num_tiles > 0) {
            consumer.attend(queries, shared.queries[n % QUERY_SLOTS], num_tiles, sums, running);
        }
        __syncwarp();
        if (threadIdx.x % 32 == 0) {
            shared.queries_ring.release(n + 1);
        }
        consumer.write(sums, running, queries, out, problem.num_heads, pack);
    }
    if (number == 0) {
        consumer.wait_turn();  // what the last has passed at the end: no barrier is left half full
    }
}
