template <typename T, int HEAD_DIM, int KEYS, bool PAGED>
__device__ __forceinline__ void consume(Shared<HEAD_DIM, KEYS>& shared, T* out, const Problem& problem, int pack) {
    Consumer<T, HEAD_DIM, KEYS, PAGED> consumer = {shared, static_cast<int>(threadIdx.x / WARPGROUP) - 1,
                                                   problem.scale * LOG2_E, 1.0f / pack};
    if (consumer.number == 1) {
        consumer.pass_turn();  // the other begins
    }
    for (unsigned n = 0;; ++n) {
        shared.queries_ring.wait_full(n);
        const Queries queries = shared.next;
        if (queries.num_rows == 0) {
            break;
        }
        float sums[HEAD_DIM / 2] = {};
        RunningRows running;
        const int num_tiles = queries.template num_tiles<KEYS>(PAGED ? pack : 1);
        if (num_tiles > 0) {
            consumer.attend(queries, num_tiles, sums, running);
        }
        __syncwarp();
        const int lane = threadIdx.x & 31;
        if (lane == 0) {
            yaie::mbarrier_arrive(&shared.queries_ring.empty[0]);
        }
        consumer.write(sums, running, queries, out, problem.num_heads, PAGED ? pack : 1);
    }
    if (consumer.number == 0) {
        consumer.wait_turn();  // what the other has passed last: no barrier is left half full
    }
}
