// Exercises of lesson 12: Paged attention.
//
// Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
// `yaie.exercise("12.1").check()` in the notebook, or `yaie check 12.1` in a terminal.
// Functions that you have not written yet are filled in with the engine's own, so any order works.
// So are launchers and includes. You may add helper functions and constants of your own.
// generated, text hash b73380cd32bd7b15

// ==================== csrc/paged_attention/problem.cuh ====================
//
// What every kernel of paged attention gets, and where in the pages it finds a token.
//
// query, out: [num_seqs, num_heads, head_dim] for a decode (one query per sequence); element types as `dtype` says
// key_cache, value_cache: one layer of the pool, [num_blocks, block_size, num_kv_heads, head_dim], of less than 2^31
//     slots (tokens)
// block_tables: [num_seqs, max_blocks]; entries beyond a sequence's context are not read
// context_lens: [num_seqs], the tokens that each query sees; 0 gives zeros
//
// Query head h reads KV head h / group, with group = num_heads / num_kv_heads. head_dim: multiples of 8 up to 256.
// Scores, softmax and sums are in float. Scores are multiplied by log2(e) beforehand, and the weights are 2^x instead
// of e^x: the card computes 2^x in one instruction.

// ---------- Exercise 12.1: The page walk (about 10 minutes) ----------
//
// Find the slot of a token: its place in the KV cache, counted in tokens from the start of the pool.
// Every kernel of paged attention calls this for each key that it reads.
//
// | argument | meaning |
// |---|---|
// | `block_table` | `block_table[i]` is the block of the pool that holds page i of the sequence |
// | `position` | of the token in the sequence, from 0 on |
// | `block_size` | tokens in a page, and rows in a block; 1 or more, not always a power of two |
//
// With pages of 4 and the block table [1, 0], the sequence lies in blocks 1 and 0 of the pool:
//
// | position | page | row | slot |
// |---|---|---|---|
// | 0 | 0 | 0 | 4 |
// | 3 | 0 | 3 | 7 |
// | 4 | 1 | 0 | 0 |
// | 5 | 1 | 1 | 1 |
//
// Entries of the table behind the page of `position` may hold anything and are not read.
__device__ __forceinline__ int slot_of_token(const int* block_table, int position, int block_size) {
    // exercise 12.1: write this function
    return {};
}

// ==================== csrc/paged_attention/softmax.cuh ====================
//
// The softmax of a row that is never there as a whole: taken over its keys one after the other, and merged from parts.
// All exponentials and logarithms are to base 2.

// ---------- Exercise 12.2: The online softmax (about 15 minutes) ----------
//
// Take one more score into the running maximum of an online softmax.
//
// The softmax so far was taken relative to `largest`: a key with the score s has the weight
// 2^(s - largest), and `total` is the sum of the weights. `largest` and `total` are references: what
// you assign to them changes the caller's variables.
//
// | | afterwards |
// |---|---|
// | `largest` | the largest score so far, `score` included |
// | `total` | the sum of the same weights as before, now relative to the new `largest` |
// | returned | by what all sums made with the old `largest` must be multiplied |
//
// The weight of `score` itself is not added: the caller does that. Scores may lie hundreds apart. At
// first `largest` is -FLT_MAX, the lowest float, and `total` is 0.
//
// | `score` | `largest`: before, after | `total`: before, after | returned |
// |---|---|---|---|
// | 4 | 3, 4 | 5, 2.5 | 0.5 |
// | 1 | 3, 3 | 5, 5 | 1 |
// | 2 | -FLT_MAX, 2 | 0, 0 | 0 |
//
// You may use `fmaxf(a, b)` and `exp2f(x)`, which is 2^x.
__device__ __forceinline__ float grow_maximum(float score, float& largest, float& total) {
    // exercise 12.2: write this function
    return {};
}

// ==================== csrc/paged_attention/paged_decode_2_warp_per_head.cu ====================
//
// Rung 2 of paged decode: a warp per query head, its lanes at consecutive elements of head_dim.
//
// What changed: a row is read in whole sectors, and the sums stay in registers. It is still one key at a time: the next
// load waits for a dot product of five shuffles, and each head of a group reads the same keys.
//
// What it did gain on an H100 (README.md): 17 times the speed of rung 1.
//
// Arguments as problem.cuh says.
//
// The engine's file has these, and you may use them:
//     __device__ __forceinline__ float to_float(float x);
//     __device__ __forceinline__ float to_float(__half x);
//     __device__ __forceinline__ float to_float(__nv_bfloat16 x);
//     // The sum (or maximum) over the 32 lanes of a warp, in every lane. All lanes must call it.
//     __device__ __forceinline__ float warp_sum(float value);
//     constexpr int DIMS_PER_LANE = MAX_HEAD_DIM / 32;

// ---------- Exercise 12.3: A dot product by a warp (about 15 minutes) ----------
//
// Compute the dot product of a query and a key with the 32 lanes of a warp together. All lanes call
// it, and all lanes get the result.
//
// | argument | meaning |
// |---|---|
// | `query` | the lane's own DIMS_PER_LANE floats: elements l, l + 32, l + 64, ... for lane l |
// | `key` | `[head_dim]`, in global memory, the same for all lanes |
// | `head_dim` | a multiple of 8 up to 256, not always one of 32 |
//
// The query is 0 beyond head_dim. Nothing behind `key[head_dim - 1]` may be read: at the end of the
// cache there is nothing. A thread block has four warps, each with a query and a key of its own.
//
// With head_dim 40, lanes 0 to 7 have two products each, and the others have one:
//
// | lane | its products |
// |---|---|
// | 3 | query[0] * key[3] + query[1] * key[35] |
// | 7 | query[0] * key[7] + query[1] * key[39] |
// | 8 | query[0] * key[8] |
//
// You may use `to_float(element)`, and `warp_sum(value)`: the sum over the 32 lanes, in every lane.
// All lanes must call it.
template <typename T>
__device__ __forceinline__ float warp_dot(const float* query, const T* key, int head_dim) {
    // exercise 12.3: write this function
    return {};
}

// ==================== csrc/paged_attention/grouped.cuh ====================
//
// The kernel of rungs 3, 4 and 5 and of prefill: a warp takes ROWS queries that read the same KV head, and tiles of
// several keys. Rows are pairs of a token of the tile of queries and a head of the group.
//
// Lanes load 16 bytes each (layout.cuh), each key and value serves all rows of the warp, and one round of shuffles sums
// up the dot products of a tile. The warps of a thread block that have the same rows share out the keys, and merge.
//
// How keys and values come from memory is the `Loader`'s business: InRegisters here, InSharedMemory in rung 5.
//
// The engine's file has these, and you may use them:
//     constexpr int TILE_PIECES = 4;  // of keys that a lane reads in a tile; as many of values
//     template <typename L>
//     using RowOffsets = int64_t[L::ROUNDS];

// ---------- Exercise 12.4: Four loads in flight (about 20 minutes) ----------
//
// Load a lane's part of a tile of keys into registers, in pieces of 16 bytes. All 32 lanes of a warp
// call it. In each round a team of L::LANES neighbouring lanes reads one key, and the L::TEAMS teams
// of the warp read different keys.
//
// | argument | meaning |
// |---|---|
// | `me` | the lane's place: `me.member` is its number in its team, from 0 to L::LANES - 1 |
// | `rows` | the keys of one head, elements of type T |
// | `offsets` | `[L::ROUNDS]`: the key of this lane's team in each round begins at `rows + offsets[round]` |
// | `head_dim` | elements of a key, a multiple of L::PIECE, at most L::MAX_DIM |
// | `raw` | `raw[round * L::CHUNKS + j]` receives piece number me.member + j * L::LANES of the key of that round |
//
// A piece is 16 bytes: L::PIECE elements. A lane has L::CHUNKS pieces of each key. Pieces beyond
// head_dim do not exist: nothing is read there, and their places in `raw` stay as they are. Keys begin
// at multiples of 16 bytes. Each load takes 16 bytes at once, and none waits for another.
//
// With T = float and L for up to 32 elements: PIECE 4, CHUNKS 1, LANES 8, TEAMS 4, ROUNDS 4.
// With head_dim 24, lane 13 is member 5 of team 1, and lane 14 is member 6:
//
// | lane | `raw[2]` |
// |---|---|
// | 13 | elements 20 to 23 of the row at `offsets[2]` |
// | 14 | stays: elements 24 to 27 do not exist |
template <typename L, typename T>
__device__ __forceinline__ void load_pieces(const L& me, uint4 (&raw)[TILE_PIECES], const T* rows,
                                            const RowOffsets<L>& offsets, int head_dim) {
    // exercise 12.4: write this function
}

// ==================== csrc/paged_attention/layout.cuh ====================
//
// How the 32 lanes of a warp share a tile of keys: LANES neighbouring lanes, a team, read one key at a time, each lane
// CHUNKS pieces of 16 bytes of it. Lane l of a team has pieces l, l + LANES, ...: the loads of a team are contiguous.
//
// The engine's file has these, and you may use them:
//     constexpr unsigned FULL_WARP = 0xffffffffu;

// ---------- Exercise 12.5: Many sums, few shuffles (about 30 minutes) ----------
//
// Add up COUNT numbers over the lanes of a team, and share the sums out to its lanes. All 32 lanes of
// a warp call it; each LANES neighbouring lanes are a team. LANES and COUNT are powers of 2.
//
// `x` holds the lane's own COUNT numbers, `lane` is its number in the warp, 0 to 31. Sum number i is
// that of the x[i] of all lanes of a team. Afterwards the first numbers of `x` are sums; what the others
// are does not matter.
//
// | | lane l of the team has, from x[0] on |
// |---|---|
// | COUNT >= LANES | the COUNT / LANES sums from number l * COUNT / LANES on |
// | COUNT < LANES | sum number l * COUNT / LANES, rounded down: LANES / COUNT lanes have the same |
//
// To add up one number after the other would take COUNT * log2(LANES) shuffles. At most COUNT - 1 are
// allowed, and log2(LANES / COUNT) more where LANES is larger than COUNT.
//
// You may use `__shfl_xor_sync(FULL_WARP, value, distance)`: the value of the lane whose number differs in
// the bit `distance`.
//
// | LANES, COUNT | x of the lanes before | x[0], ... afterwards | shuffles |
// |---|---|---|---|
// | 2, 2 | 1 2 and 10 20 | 11 and 22 | 1 |
// | 2, 4 | 1 2 3 4 and 10 20 30 40 | 11 22 and 33 44 | 2 |
// | 4, 2 | 1 2, 10 20, 100 200, 0 0 | 111, 111, 222, 222 | 2 |
template <int LANES, int COUNT>
__device__ __forceinline__ void reduce_scatter(float (&x)[COUNT], int lane) {
    // exercise 12.5: write this function
}

// ---------- Exercise 12.6: Merge the splits of a context (about 20 minutes) ----------
//
// Merge attention over several sets of keys, for one element of the output. Each set was attended to
// on its own: as splits of a long context are, by thread blocks that know nothing of each other.
//
// | argument | meaning |
// |---|---|
// | `parts`, `stride` | what set i gave for this element is `parts[i * stride]` |
// | `lses` | `[count]`: log2 of the total weight of each set |
// | `count` | number of sets, 1 or more |
// | `lse` | a reference; receives log2 of the total weight of all sets together |
//
// The result is the mean of the parts, where part i weighs 2^lses[i]. The lses may be of any size:
// 2^200 does not fit into a float and 2^-200 is 0 there, but their ratios count.
//
// | `lses` | parts | returned | `lse` |
// |---|---|---|---|
// | 1, 2 | 10, 40 | (2 * 10 + 4 * 40) / 6 = 30 | log2(6) = 2.58 |
// | 5 | 7 | 7 | 5 |
// | 201, 200 | 3, 6 | 4 | 201.58 |
// | -200, -201 | 3, 6 | 4 | -199.42 |
//
// You may use `fmaxf(a, b)`, `exp2f(x)`, which is 2^x, and `log2f(x)`.
__device__ float merge_parts(const float* lses, const float* parts, int count, int stride, float& lse) {
    // exercise 12.6: write this function
    return {};
}
