template <typename T, int HEAD_DIM>
__device__ __forceinline__ void produce(Shared<HEAD_DIM>& shared, const CUtensorMap& query_map,
                                        const CUtensorMap& key_map, const CUtensorMap& value_map, const T* key,
                                        const T* value, const Queries& queries, int key_stride) {
    constexpr int PARTS = HEAD_DIM / PART;
    if (threadIdx.x % 32 == 0) {
        uint64_t* full = &shared.queries_ring.full[0];
        yaie::mbarrier_arrive_expect_tx(full, PARTS * ROWS * PART_BYTES);
        for (int part = 0; part < PARTS; ++part) {
            yaie::tma_load(shared.queries + part * (ROWS * PART_BYTES), &query_map, full, 0, queries.first_q,
                           queries.head * PARTS + part);
        }
    }
    Producer<T, HEAD_DIM, KEYS, 1, SLOTS, false> producer = {&shared.ring, shared.slots, Pages{}, 0, 0, key_stride, 0};
    for (int tile = queries.num_tiles<KEYS>(1) - 1; tile >= 0; --tile) {
        const int row = producer.find(queries, tile * KEYS);
        producer.load(queries, tile * KEYS, row, &key_map, key);
        producer.load(queries, tile * KEYS, row, &value_map, value);
    }
}
