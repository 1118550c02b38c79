// Rung 6 of flash attention, for Hopper: two consumers in turn, and softmax beside the products. fp16 and bf16.
//
// What changed:
// - Two consumer warpgroups (three with head_dim 64, whose products are short) share the tiles of keys and values, 64 rows
//   each. They take turns (ping-pong): while the tensor cores work for one, the others have their softmax to do. A named
//   barrier for each says when it is its turn.
// - Within a warpgroup, too: the scores of a tile and the product of the weights before with their values are started
//   together, and the softmax of this tile is computed while the second is still at work. So values are needed one tile
//   later than keys, and come so in the ring.
// - The producer is a warpgroup of its own and gives its registers to the consumers (setmaxnreg).
// - A thread block for each multiprocessor stays until all is done (persistent): its producer takes tile after tile of
//   queries from a counter and copies the next while the consumers are still busy with the last. With a mask the
//   longest tiles come first, of so many heads at a time as fit the L2 cache with their keys and values.
// - From one tile of queries to the next there is no gap either: the last product of one and the first scores of the
//   next are started together, and the result is written while the scores are computed.
// - Over the pages of a cache, too: a page of 16 tokens or more is a box that TMA copies; smaller ones, and the end of
//   a context, four warps copy by cp.async. The query heads that share keys lie in one tile of queries.
//
// What it should gain: this is the plan of FlashAttention-3, which reached 654 TFLOP/s on an H100 (4 x 4096 tokens, 32
// heads on 8 of 128, causal, bf16), where rung 4 reached 345. The aim is to be as fast.
//
// What it did gain (one H200, 2026-11-28): 680 TFLOP/s in that case, where FlashAttention-3 reached 652 and cuDNN 605 in
// the same run; 98 to 111% of the faster of the two in six cases, 100 to 102% with head_dim 64
// (yaie/bench/results/LEDGER.md).
//
// Arguments as problem.cuh says (flash_attention_6_paged: see there); head_dim 64 or 128, all pointers 16-byte aligned,
// scale above 0. counter: one int, whatever it is. total_q, total_k: the rows of query and of key.
#include <numeric>

#include "hopper.cuh"

constexpr int KEYS = 128, SLOTS = 4, QUERY_SLOTS = 2, PRODUCER_WARPS = WARPGROUP / 32;
template <int HEAD_DIM>
constexpr int CONSUMERS = HEAD_DIM == 64 ? 3 : 2;
template <int HEAD_DIM>
constexpr int ROWS = 64 * CONSUMERS<HEAD_DIM>;
template <int HEAD_DIM>
constexpr int THREADS = WARPGROUP * (1 + CONSUMERS<HEAD_DIM>);
// Of a thread; in all not more than the kernel's cap, which is 65,536 / THREADS for each.
template <int HEAD_DIM>
constexpr int PRODUCER_REGISTERS = CONSUMERS<HEAD_DIM> == 2 ? 56 : 32;
template <int HEAD_DIM>
constexpr int CONSUMER_REGISTERS = CONSUMERS<HEAD_DIM> == 2 ? 224 : 160;
constexpr int TURN_BARRIER = 2;         // named; this one and those behind it for each consumer
constexpr int SMALLEST_BOX = 16;        // keys of a page that TMA is to copy
constexpr int64_t L2_BYTES = 32 << 20;  // of the cache, that keys and values may fill

template <int HEAD_DIM>
struct Shared {
    char queries[QUERY_SLOTS][TILE_BYTES<ROWS<HEAD_DIM>, HEAD_DIM>];
    char slots[SLOTS * TILE_BYTES<KEYS, HEAD_DIM>];
    Ring<SLOTS> ring;
    Ring<QUERY_SLOTS> queries_ring;
    Queries next[QUERY_SLOTS];  // what lies in `queries`, and whom it is of
};

// How the work is cut into items: parts of the queries of a pair of a head and a sequence (over pages: of a head of
// keys and a tile). Item by item, the pairs of a section take turns, each with its last part first.
struct Schedule {
    int* counter;
    int parts, pairs, section;
    int box_keys, pack;  // of Producer and Queries
};

// The queries of a part of tile number `tile`.
template <int ROWS>
__device__ __forceinline__ Queries queries_over_pages(const Pages& pages, int tile_number, int kv_head, int part,
                                                      int pack) {
    const int4 tile = pages.tiles[tile_number];
    const int tokens = ROWS / pack, first = part * tokens;
    Queries queries;
    queries.first_q = tile.y + first;
    queries.head = kv_head * pack;
    queries.num_rows = max(0, min(tokens, tile.z - first)) * pack;
    queries.first_sees = tile.w + first;
    queries.kv_len = tile.w + tile.z - 1;
    queries.kv_head = kv_head;
    queries.first_k = 0;
    queries.block_table = pages.block_tables + static_cast<int64_t>(tile.x) * pages.max_blocks;
    return queries;
}

// The next item that has rows; without rows when there is none. By one thread of the block.
template <int ROWS, bool PAGED>
__device__ __forceinline__ Queries take_next(const Problem& problem, const Pages& pages, const Schedule& schedule) {
    const int heads = PAGED ? problem.num_kv_heads : problem.num_heads;
    for (;;) {
        const int item = atomicAdd(schedule.counter, 1);
        if (item >= schedule.parts * schedule.pairs) {
            return Queries{};
        }
        const int section = item / (schedule.parts * schedule.section), first_pair = section * schedule.section;
        const int width = min(schedule.section, schedule.pairs - first_pair);  // the last section may be narrower
        const int rest = item - first_pair * schedule.parts;
        const int part = schedule.parts - 1 - rest / width, pair = first_pair + rest % width;
        const int outer = pair / heads, head = pair % heads;
        const Queries queries = PAGED ? queries_over_pages<ROWS>(pages, outer, head, part, schedule.pack)
                                      : queries_of<ROWS>(problem, outer, head, part);
        if (queries.num_rows > 0) {
            return queries;
        }
    }
}

// Ask TMA for the next queries. By one thread.
template <int HEAD_DIM>
__device__ __forceinline__ void start_queries(Shared<HEAD_DIM>& shared, const CUtensorMap& map,
                                              const Queries& next, int slot, int pack) {
    constexpr int PARTS = HEAD_DIM / PART, rows = ROWS<HEAD_DIM>;
    uint64_t* full = &shared.queries_ring.full[slot];
    if (next.num_rows == 0) {
        yaie::mbarrier_arrive(full);
        return;
    }
    yaie::mbarrier_arrive_expect_tx(full, PARTS * (rows / pack * pack) * PART_BYTES);
    for (int part = 0; part < PARTS; ++part) {
        yaie::tma_load(shared.queries[slot] + part * (rows * PART_BYTES), &map, full, 0, 0, next.first_q,
                       next.head * PARTS + part);
    }
}

// Publish the next queries and copy them, as use n of their ring. All threads of the producer call it.
template <int HEAD_DIM>
__device__ __forceinline__ const Queries& load_queries(Shared<HEAD_DIM>& shared, const CUtensorMap& map,
                                                       const Queries& next, unsigned n, int pack) {
    const int slot = n % QUERY_SLOTS;
    if (threadIdx.x == 0) {
        shared.queries_ring.wait_empty(n);
        shared.next[slot] = next;
        start_queries(shared, map, next, slot, pack);
    }
    yaie::named_barrier_sync(PRODUCER_BARRIER, WARPGROUP);
    return shared.next[slot];
}

// Copy queries, and what they attend to: keys one tile ahead of values. Without pages the last warp alone asks for tiles
// of keys and values, and waits for their slots. So the first, whose thread 0 takes the queries, is ahead of it: the next
// queries are known and copied while the keys of these are still to come.
template <typename T, int HEAD_DIM, bool PAGED>
__device__ __forceinline__ void produce(Shared<HEAD_DIM>& shared, const CUtensorMap& query_map,
                                        const CUtensorMap& key_map, const CUtensorMap& value_map, const T* key,
                                        const T* value, const Problem& problem, const Pages& pages,
                                        const Schedule& schedule) {
    Producer<T, HEAD_DIM, KEYS, PRODUCER_WARPS, SLOTS, PAGED> producer = {
        &shared.ring, shared.slots, pages, schedule.box_keys,
        schedule.box_keys > 0 ? KEYS / schedule.box_keys : 0, problem.num_kv_heads * HEAD_DIM,
        static_cast<int>(threadIdx.x / 32)};
    for (unsigned n = 0;; ++n) {
        const Queries next =
            threadIdx.x == 0 ? take_next<ROWS<HEAD_DIM>, PAGED>(problem, pages, schedule) : Queries{};
        // Read in place, for registers are few. It stays until use n + 2, when all of the producer are beyond this one.
        const Queries& queries = load_queries(shared, query_map, next, n, schedule.pack);
        if (queries.num_rows == 0) {
            return;
        }
        const int num_tiles = queries.template num_tiles<KEYS>(schedule.pack);
        int row = producer.find(queries, (num_tiles - 1) * KEYS);
        for (int tile = num_tiles - 1; tile >= -1; --tile) {
            // Looked for one tile ahead: to look into a block table takes as long as to copy.
            const int next_row = tile > 0 ? producer.find(queries, (tile - 1) * KEYS) : 0;
            if (tile >= 0) {
                producer.load(queries, tile * KEYS, row, &key_map, key);
            }
            if (tile + 1 < num_tiles) {
                const int of_values = producer.find(queries, (tile + 1) * KEYS);  // in the L1 cache since its keys
                producer.load(queries, (tile + 1) * KEYS, of_values, &value_map, value);
            }
            row = next_row;
        }
    }
}

// Take over from the tile before: scale what was added up so far to the new maxima, turn the scores into weights, and
// pack them. Until the last product is over its weights are being read and its sums written: only then. To wait before
// the powers, not behind them, leaves the scaling and the packing to be computed beside them: they keep their unit busy
// for long.
template <typename T, int COLUMNS, int N>
__device__ __forceinline__ void take_over(float (&sums)[COLUMNS], uint32_t (&weights)[N / 8][4], float (&scores)[N],
                                          Softmax& softmax) {
    yaie::wgmma_wait<0>();
    yaie::wgmma_keep(sums);
    rescale(sums, softmax.factors);
    weigh(scores, softmax);
    pack_weights<T>(scores, weights);
}

// A consumer: what it computes with, and where it is. It has products in flight nearly always: those of a tile of
// queries begin while the last one of the tile before has not ended.
template <typename T, int HEAD_DIM, bool PAGED>
struct Consumer {
    static constexpr int BYTES = TILE_BYTES<KEYS, HEAD_DIM>, rows = ROWS<HEAD_DIM>, num_consumers = CONSUMERS<HEAD_DIM>;

    Shared<HEAD_DIM>& shared;
    int number;        // of the consumer: its rows are 64 * number and those behind it
    bool small_pages;  // TMA copies no tile
    float scale_log2, inverse_pack;
    unsigned n = 0;  // uses of the ring that are over
    float scores[KEYS / 2], sums[HEAD_DIM / 2];
    uint32_t weights[KEYS / 16][4];
    RunningRows running;

    // By a product instead of a division: exact for rows of a tile.
    __device__ int token_of(int row) const { return PAGED ? static_cast<int>((row + 0.5f) * inverse_pack) : row; }
    __device__ const char* slot(unsigned use) const { return shared.slots + use % SLOTS * BYTES; }

    // The tensor cores are this consumer's until pass_turn. Each has as many turns as the others.
    __device__ void wait_turn() { yaie::named_barrier_sync(TURN_BARRIER + number, 2 * WARPGROUP); }
    __device__ void pass_turn() {
        yaie::named_barrier_arrive(TURN_BARRIER + (number + 1) % num_consumers, 2 * WARPGROUP);
    }

    // After a wait for tiles that threads have copied: now wgmma may read them. Not while products are in flight, for it
    // would wait until they are over.
    __device__ void fence(bool by_threads) {
        if (by_threads) {
            yaie::fence_proxy_async();
        }
    }

    __device__ void release(unsigned use) {
        if (threadIdx.x % WARPGROUP == 0) {
            shared.ring.release(use);
        }
    }

    // Set the scores of keys that a row does not see, of tile number `tile`, to -inf.
    __device__ void mask(const Queries& queries, int tile) {
        const int first = 64 * number, first_key = tile * KEYS;
        if (first_key + KEYS > queries.visible_keys(token_of(first))) {
            mask_scores(scores, {queries.visible_keys(token_of(first + own_row(0))) - first_key,
                                 queries.visible_keys(token_of(first + own_row(1))) - first_key});
        }
    }

    // Start the scores of the tile of keys in use `of_keys`, and the product of the last weights with the values in use
    // `of_values`. Both have been waited for.
    __device__ void start_keys(const char* query_tile, unsigned of_keys) {
        start_scores<T, HEAD_DIM, rows, KEYS>(scores, query_tile, 64 * number, slot(of_keys));
    }
    __device__ void start_values(unsigned of_values) {
        start_sums<T, HEAD_DIM, KEYS>(sums, weights, slot(of_values));
    }

    // The scores of the last tile of keys for the first queries.
    __device__ void score_first(const char* query_tile) {
        shared.ring.wait_full(n);
        fence(true);
        start_keys(query_tile, n);
        yaie::wgmma_wait<0>();
        yaie::wgmma_keep(scores);
        release(n);
        ++n;
    }

    // Attend to all keys, from the last tile to the first, whose scores are there; but the last product with values is
    // left to do. The products with the queries are over then.
    __device__ void attend(const Queries& queries, const char* query_tile, int num_tiles) {
        Softmax softmax = {scale_log2};
        bool by_threads = small_pages || num_tiles * KEYS > queries.kv_len;  // and not by TMA
        running = RunningRows();
        mask(queries, num_tiles - 1);
        take_scores(scores, running, softmax);
        pack_weights<T>(scores, weights);
#pragma unroll
        for (float& sum : sums) {
            sum = 0.0f;
        }
        shared.ring.wait_full(n);
#pragma unroll 1
        for (int tile = num_tiles - 2; tile >= 0; --tile, n += 2) {
            shared.ring.wait_full(n + 1);
            fence(by_threads);
            wait_turn();
            start_keys(query_tile, n);
            start_values(n + 1);
            pass_turn();
            yaie::wgmma_wait<1>();
            yaie::wgmma_keep(scores);
            release(n);
            mask(queries, tile);
            take_maxima(scores, running, softmax);
            // What comes next, keys or the last values. To wait for it here also keeps the compiler, which moves
            // nothing across a loop, from taking the maxima behind the wait for the product beside them.
            shared.ring.wait_full(n + 2);
            take_over<T>(sums, weights, scores, softmax);
            release(n + 1);
            take_sums(running, softmax);
            by_threads = small_pages;
        }
        fence(by_threads);
    }

    // The last product with values, and beside it the scores of the last tile of keys for the next queries.
    // Then the sums are complete, and the scores still being computed.
    __device__ void start_next(const char* next_tile) {
        shared.ring.wait_full(n + 1);
        fence(true);
        wait_turn();
        start_values(n);
        start_keys(next_tile, n + 1);
        pass_turn();
        yaie::wgmma_wait<1>();
        yaie::wgmma_keep(sums);
        release(n);
    }

    // What start_next has left.
    __device__ void end_scores() {
        yaie::wgmma_wait<0>();
        yaie::wgmma_keep(scores);
        release(n + 1);
        n += 2;
    }

    // The last product with values when no queries come next.
    __device__ void end_sums() {
        start_values(n);
        yaie::wgmma_wait<0>();
        yaie::wgmma_keep(sums);
    }

    __device__ void write(const Queries& queries, T* out, int num_heads, int pack) const {
        T* targets[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = 64 * number + own_row(half), token = token_of(row);
            const int64_t to_token = static_cast<int64_t>(queries.first_q + token) * num_heads;
            T* target = out + (to_token + queries.head + row - token * pack) * HEAD_DIM;
            targets[half] = row < queries.num_rows ? target : nullptr;
        }
        write_rows<T>(sums, running, targets);
    }
};

// Attend with one tile of queries after the other, as they come.
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
            shared.queries_ring.release(n);
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

template <typename T, int HEAD_DIM, bool PAGED>
__global__ void __launch_bounds__(THREADS<HEAD_DIM>, 1)
    overlap_kernel(const __grid_constant__ CUtensorMap query_map, const __grid_constant__ CUtensorMap key_map,
                   const __grid_constant__ CUtensorMap value_map, const T* key, const T* value, T* out,
                   Problem problem, Pages pages, Schedule schedule) {
    extern __shared__ __align__(1024) char memory[];
    Shared<HEAD_DIM>& shared = *reinterpret_cast<Shared<HEAD_DIM>*>(memory);
    if (threadIdx.x == 0) {
        for (const CUtensorMap* map : {&query_map, &key_map, &value_map}) {
            yaie::tma_prefetch_map(map);
        }
        shared.ring.init(PAGED ? PRODUCER_WARPS : 1, CONSUMERS<HEAD_DIM>);
        shared.queries_ring.init(1, CONSUMERS<HEAD_DIM> * WARPGROUP / 32);
        yaie::fence_mbarrier_init();
    }
    if (PAGED) {  // rows that no copy fills, where pack does not divide ROWS
        constexpr int rows = ROWS<HEAD_DIM>, chunks = HEAD_DIM / 8;
        const int filled = rows / schedule.pack * schedule.pack;
        for (int i = threadIdx.x; i < (rows - filled) * chunks; i += THREADS<HEAD_DIM>) {
            for (char* tile : shared.queries) {
                *reinterpret_cast<uint4*>(tile + place<rows>(filled + i / chunks, i % chunks)) = uint4{};
            }
        }
        yaie::fence_proxy_async();
    }
    __syncthreads();
    if (threadIdx.x < WARPGROUP) {
        yaie::setmaxnreg_dec<PRODUCER_REGISTERS<HEAD_DIM>>();
        produce<T, HEAD_DIM, PAGED>(shared, query_map, key_map, value_map, key, value, problem, pages, schedule);
    } else {
        yaie::setmaxnreg_inc<CONSUMER_REGISTERS<HEAD_DIM>>();
        consume<T, HEAD_DIM, PAGED>(shared, out, problem, schedule);
    }
}

// The maps, the counter, and a thread block for each multiprocessor that has work.
template <typename T, int HEAD_DIM, bool PAGED>
static int launch(const void* query, const void* key, const void* value, void* out, int64_t total_q, int64_t total_k,
                  const Problem& problem, const Pages& pages, Schedule schedule, int longest, cudaStream_t stream) {
    constexpr int BYTES = sizeof(Shared<HEAD_DIM>), PARTS = HEAD_DIM / PART;
    const int num_heads = problem.num_heads, num_kv_heads = problem.num_kv_heads, box = schedule.box_keys;
    const uint32_t pack = schedule.pack, tokens = ROWS<HEAD_DIM> / pack;
    schedule.parts = (longest + tokens - 1) / tokens;
    const uint64_t heads = num_heads, head_bytes = HEAD_DIM * 2;
    CUtensorMap query_map, key_map, value_map;
    // A row of a part; the heads of a tile; tokens; the parts of all heads.
    cudaError_t error = yaie::tensor_map(&query_map, static_cast<const T*>(query),
                                         {PART, pack, static_cast<uint64_t>(total_q), heads * PARTS},
                                         {head_bytes, heads * head_bytes, PART_BYTES}, {PART, pack, tokens, 1},
                                         CU_TENSOR_MAP_SWIZZLE_128B);
    error = error ? error : map_of_rows<T>(&key_map, key, total_k, num_kv_heads, HEAD_DIM, box > 0 ? box : 1);
    error = error ? error : map_of_rows<T>(&value_map, value, total_k, num_kv_heads, HEAD_DIM, box > 0 ? box : 1);
    error = error ? error : allow_shared_memory(overlap_kernel<T, HEAD_DIM, PAGED>, BYTES);
    error = error ? error : cudaMemsetAsync(schedule.counter, 0, sizeof(int), stream);
    int device = 0, processors = 0;
    error = error ? error : cudaGetDevice(&device);
    error = error ? error : cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error) {
        return error;
    }
    const int items = schedule.parts * schedule.pairs;
    const int blocks = items < processors ? items : processors;
    overlap_kernel<T, HEAD_DIM, PAGED><<<blocks, THREADS<HEAD_DIM>, BYTES, stream>>>(
        query_map, key_map, value_map, static_cast<const T*>(key), static_cast<const T*>(value), static_cast<T*>(out),
        problem, pages, schedule);
    return cudaGetLastError();
}

extern "C" int flash_attention_6_overlap(const void* query, const void* key, const void* value, void* out, int* counter,
                                         const int* cu_seqlens_q, const int* cu_seqlens_k, int num_seqs, int max_q_len,
                                         int total_q, int total_k, int num_heads, int num_kv_heads, int head_dim,
                                         float scale, int causal, int dtype, cudaStream_t stream) {
    const Problem problem = {cu_seqlens_q, cu_seqlens_k, num_heads, num_kv_heads, head_dim, scale, causal != 0};
    if (num_seqs == 0 || max_q_len == 0) {
        return cudaSuccess;
    }
    Schedule schedule = {counter, 0, num_heads * num_seqs, 1, KEYS, 1};
    if (causal) {  // of a head of keys and values, a sequence has so many bytes
        const int64_t bytes = 4 * static_cast<int64_t>(total_k) / num_seqs * head_dim + 1;
        const int64_t fit = (L2_BYTES / bytes + 1) * (num_heads / num_kv_heads);
        schedule.section = static_cast<int>(fit < schedule.pairs ? fit : schedule.pairs);
    }
    return dispatch_hopper(problem, dtype, [&](auto* type, auto size) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        return launch<T, size(), false>(query, key, value, out, total_q, total_k, problem, Pages{}, schedule, max_q_len,
                                        stream);
    });
}

// The same over the pages of a cache (../paged_attention/problem.cuh), causal; arguments as for
// flash_attention_4_paged. num_tokens: rows of query. num_blocks: of the caches. At most 128 query heads share a head
// of keys and values.
extern "C" int flash_attention_6_paged(const void* query, const void* key_cache, const void* value_cache,
                                       const int* block_tables, const int4* tiles, void* out, int* counter,
                                       int num_tiles, int tile_tokens, int num_tokens, int num_blocks, int num_heads,
                                       int num_kv_heads, int head_dim, int block_size, int max_blocks, float scale,
                                       int dtype, cudaStream_t stream) {
    const Problem problem = {nullptr, nullptr, num_heads, num_kv_heads, head_dim, scale, true};
    const Pages pages = {block_tables, tiles, block_size, max_blocks};
    const int pack = num_heads / num_kv_heads;
    if (num_tiles == 0 || tile_tokens == 0) {
        return cudaSuccess;
    }
    if (pack > 128) {
        return cudaErrorInvalidValue;
    }
    const int divisor = std::gcd(block_size, KEYS);
    const Schedule schedule = {counter, 0, num_kv_heads * num_tiles, 1, divisor < SMALLEST_BOX ? 0 : divisor, pack};
    return dispatch_hopper(problem, dtype, [&](auto* type, auto size) -> int {
        using T = std::remove_pointer_t<decltype(type)>;
        return launch<T, size(), true>(query, key_cache, value_cache, out, num_tokens,
                                             static_cast<int64_t>(num_blocks) * block_size, problem, pages, schedule,
                                             tile_tokens, stream);
    });
}
