// expect: Whoever arrives must do so after all that they speak for are done
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
        const int slot = n % QUERY_SLOTS, next_slot = (n + 1) % QUERY_SLOTS;
        shared.queries_ring.wait_full(n);
        const Queries queries = shared.next[slot];
        if (queries.num_rows == 0) {
            break;
        }
        if (n == 0) {
            consumer.score_first(shared.queries[slot]);
        }
        consumer.attend(queries, shared.queries[slot], queries.template num_tiles<KEYS>(pack));
        __syncwarp();
        if (threadIdx.x % 32 == 0) {
            shared.queries_ring.release(n + 1);
        }
        shared.queries_ring.wait_full(n + 1);
        if (shared.next[next_slot].num_rows > 0) {
            consumer.start_next(shared.queries[next_slot]);
            consumer.write(queries, out, problem.num_heads, pack);
            consumer.end_scores();
        } else {
            consumer.end_sums();
            consumer.write(queries, out, problem.num_heads, pack);
        }
    }
    if (number == 0) {
        consumer.wait_turn();  // what the last has passed at the end: no barrier is left half full
    }
}
