"""Lesson 09: memory operations: what a warp touches at once, copies of pages, shared memory and its banks, sums."""

from __future__ import annotations

import torch

from yaie.course.expect import expect, expect_no_bank_conflicts, expect_sectors, given
from yaie.course.registry import Lesson, Mutant
from yaie.kernels import native

LESSON = Lesson(9, "memory_operations", "Memory operations", minutes=130)


def _caches(num_layers: int, num_blocks: int, block_ints: int, dtype=torch.int32) -> list[torch.Tensor]:
    """Key and value cache of different numbers, from which each number's place can be told."""
    key = torch.arange(num_layers * num_blocks * block_ints).reshape(num_layers, num_blocks, block_ints)
    return [key.to(dtype), (key + 50).to(dtype)]


@LESSON.exercise(
    "9.1",
    title="Copy blocks of the KV cache",
    target="csrc/memory/copy_blocks.cu:copy_blocks_kernel",
    minutes=20,
    requires=("8.2",),
    task="Copy blocks inside the KV cache, in all layers, keys and values. Thread block (x, y, z) copies pair number "
    "x of `block_mapping` in layer y; z = 0 is the key cache, z = 1 the value cache. Its threads share the "
    "`units_per_block` units of the block. With block_mapping = [[0, 2]] and 2 layers, block 0 of each layer goes to "
    "block 2 of the same layer.",
    hints=(
        "Find out first where your block begins: the cache (key or value), the layer in it, the block in the layer. "
        "Then a loop over the units, with `threadIdx.x` and `blockDim.x`.",
        "A layer has `num_blocks * units_per_block` units, a block `units_per_block`. Pair x is `block_mapping[2 * x]` "
        "(source) and `block_mapping[2 * x + 1]` (target).",
        "Unit* cache = blockIdx.z == 0 ? key_cache : value_cache; Unit* layer = cache + blockIdx.y * num_blocks * "
        "units_per_block; for (int64_t i = threadIdx.x; i < units_per_block; i += blockDim.x) { layer[target * "
        "units_per_block + i] = layer[source * units_per_block + i]; }",
    ),
    mutants=(
        Mutant(
            "for (int64_t i = threadIdx.x; i < units_per_block; i += blockDim.x) {",
            "if (int64_t i = threadIdx.x; i < units_per_block) {",
            "Each thread copied one unit only. A block of the cache with more units than the thread block has threads "
            "is copied in part; let every thread go on in steps of `blockDim.x`.",
        ),
        Mutant(
            "blockIdx.y * num_blocks * units_per_block",
            "blockIdx.y * units_per_block",
            "The layers lie `num_blocks * units_per_block` units apart: a layer holds all blocks, not one.",
        ),
        Mutant(
            "layer[target * units_per_block + i] = layer[source * units_per_block + i];",
            "layer[source * units_per_block + i] = layer[target * units_per_block + i];",
            "Source and target have changed places: a pair is (source, target).",
        ),
    ),
)
def check_copy_blocks() -> None:
    module = native.module("memory/copy_blocks.cu", "emulator", check=True)
    cases = [
        (1, 3, 2, [[0, 2]], torch.int32),
        (2, 3, 2, [[0, 2]], torch.int32),
        (2, 6, 4, [[5, 0], [1, 3]], torch.int32),
        (1, 2, 6, [[0, 1]], torch.uint8),
        (1, 3, 1200, [[2, 1]], torch.int32),
    ]
    for num_layers, num_blocks, block_ints, pairs, dtype in cases:
        caches = _caches(num_layers, num_blocks, block_ints, dtype)
        wanted = [cache.clone() for cache in caches]
        for cache in wanted:
            cache[:, [target for _, target in pairs]] = cache[:, [source for source, _ in pairs]]
        mapping = torch.tensor(pairs)
        shape = [num_layers, num_blocks, block_ints]
        with given(
            f"copy_blocks of caches [num_layers, num_blocks, numbers per block] = {shape}, block_mapping = {pairs}"
        ):
            launch = module.copy_blocks_2_vectors
            launch(*caches, mapping, len(pairs), num_layers, num_blocks, block_ints * caches[0].element_size())
            expect(caches[0], wanted[0], "key cache afterwards")
            expect(caches[1], wanted[1], "value cache afterwards")
    caches = _caches(1, 2, 1024)
    with given("profile of copy_blocks_1_elements with blocks of 1024 numbers of 4 bytes"):
        profile = module.profile("copy_blocks_1_elements", *caches, torch.tensor([[0, 1]]), 1, 1, 2, 4096)
        expect_sectors(profile, 4)


@LESSON.exercise(
    "9.2",
    title="Write new tokens into their slots",
    target="csrc/memory/reshape_and_cache.cu:reshape_and_cache_kernel",
    minutes=15,
    requires=("9.1",),
    task="Each step of the engine computes keys and values of new tokens and puts them into the cache. Thread block b "
    "copies row b of `key` to row `slot_mapping[b]` of `key_cache`, and the same for `value`; its threads share the "
    "`units_per_token` units of a row. A negative slot is skipped. With slot_mapping = [5, -1, 0], token 0 goes to "
    "slot 5, token 2 to slot 0, and token 1 nowhere.",
    hints=(
        "It is 9.1 with another rule for where a row comes from and where it goes. Look at the slot before you do "
        "anything else.",
        "The row of token b begins at `b * units_per_token` in `key`; its place in the cache at "
        "`slot_mapping[b] * units_per_token`.",
        "const int64_t token = blockIdx.x, slot = slot_mapping[token]; if (slot < 0) { return; } for (int64_t i = "
        "threadIdx.x; i < units_per_token; i += blockDim.x) { key_cache[slot * units_per_token + i] = key[token * "
        "units_per_token + i]; and the same for value; }",
    ),
    mutants=(
        Mutant(
            "    if (slot < 0) {\n        return;\n    }\n",
            "",
            "A slot of -1 means that the token belongs to nobody. Its row would be written in front of the cache.",
        ),
        Mutant(
            "key_cache[slot * units_per_token + i]",
            "key_cache[token * units_per_token + i]",
            "The row was written to the token's own number instead of its slot. In a paged cache the place of a token "
            "is what `slot_mapping` says.",
        ),
        Mutant(
            "= value[token * units_per_token + i];",
            "= key[token * units_per_token + i];",
            "The value cache holds keys: a line was copied and only one side of it changed.",
        ),
    ),
)
def check_reshape_and_cache() -> None:
    module = native.module("memory/reshape_and_cache.cu", "emulator", check=True)
    for num_slots, row, slots in ((4, 2, [1]), (6, 3, [5, 0]), (6, 4, [5, -1, 0]), (3, 1200, [2, 1])):
        key = torch.arange(1, len(slots) * row + 1, dtype=torch.int32).reshape(len(slots), row)
        value = -key
        caches = [torch.zeros(num_slots, row, dtype=torch.int32) for _ in range(2)]
        wanted = [cache.clone() for cache in caches]
        for token, slot in enumerate(slots):
            if slot >= 0:
                wanted[0][slot], wanted[1][slot] = key[token], value[token]
        given_text = f"reshape_and_cache of {len(slots)} rows of {row} numbers (1, 2, 3, ...; values -1, -2, -3, ...)"
        with given(f"{given_text} into {num_slots} slots of zeros, slot_mapping = {slots}"):
            module.reshape_and_cache(key, value, *caches, torch.tensor(slots), len(slots), 4 * row)
            expect(caches[0], wanted[0], "key cache afterwards")
            expect(caches[1], wanted[1], "value cache afterwards")
    rows = torch.zeros(1, 4096, dtype=torch.uint8)
    with given("profile of reshape_and_cache with a row of 4096 bytes, in units of 16 bytes"):
        profile = module.profile("reshape_and_cache", rows, rows, rows + 1, rows + 1, torch.tensor([0]), 1, 4096)
        expect_sectors(profile, 16)


@LESSON.exercise(
    "9.3",
    title="Transpose through shared memory",
    target="csrc/memory/transpose.cu:transpose_tile_kernel",
    minutes=25,
    requires=("8.1",),
    task="Write y[c][r] = x[r][c] so that reads and writes both run along rows. A thread block of 32 x 32 threads "
    "reads one tile of x into shared memory, waits, and writes it to its place in y. PAD more columns in the tile "
    "keep its columns out of one bank. With x of 2 rows and 3 columns, y has 3 rows and 2 columns, and y[2][0] = "
    "x[0][2].",
    hints=(
        "Two halves with `__syncthreads()` between them. In each half `threadIdx.x` must run along a row in global "
        "memory. Where is the tile read along its columns?",
        "The tile at block (x, y) of the input stands at block (y, x) of the output. So the second half has a row and "
        "a column of its own: `out_col = blockIdx.y * TILE + threadIdx.x`, `out_row = blockIdx.x * TILE + "
        "threadIdx.y`.",
        "__shared__ float tile[TILE][TILE + PAD]; first half: if (row < rows && col < cols) tile[threadIdx.y]"
        "[threadIdx.x] = x[row * cols + col]; __syncthreads(); second half: if (out_row < cols && out_col < rows) "
        "y[out_row * rows + out_col] = tile[threadIdx.x][threadIdx.y]; compute the indices in 64 bits.",
    ),
    mutants=(
        Mutant(
            "    __syncthreads();\n",
            "",
            "A thread reads from the tile what another thread has written there. Without `__syncthreads()` between the "
            "halves it may read too early.",
        ),
        Mutant(
            "blockIdx.y * TILE + threadIdx.x;  // the tile's place in y: rows and columns change places",
            "col;",
            "The tiles themselves must change places, too: the tile at block (x, y) belongs to block (y, x) of the "
            "output. Inside one tile everything looks right.",
        ),
        Mutant(
            "tile[TILE][TILE + PAD]",
            "tile[TILE][TILE]",
            "The result is right, but a column of the tile lies in one bank, so its 32 reads queue up. With PAD more "
            "columns they fall into 32 banks.",
        ),
    ),
)
def check_transpose() -> None:
    module = native.module("memory/transpose.cu", "emulator", check=True)
    for rows, cols in ((2, 3), (1, 5), (33, 2), (40, 70), (64, 32)):
        x = torch.arange(rows * cols, dtype=torch.float32).reshape(rows, cols)
        for launcher in ("transpose_2_tiled", "transpose_3_padded"):
            y = torch.full((cols, rows), -1.0)
            with given(f"{launcher} of x with {rows} rows and {cols} columns, numbered 0, 1, 2, ... along the rows"):
                getattr(module, launcher)(x, y, rows, cols)
                expect(y, x.T, "result y")
    x = torch.arange(64 * 64, dtype=torch.float32).reshape(64, 64)
    with given("profile of transpose_3_padded of 64 rows and 64 columns"):
        profile = module.profile("transpose_3_padded", x, torch.empty(64, 64), 64, 64)
        expect_sectors(profile, 4, note="Both halves must run along rows of global memory.")
        expect_no_bank_conflicts(profile)


@LESSON.exercise(
    "9.4",
    title="Sum in shared memory",
    target="csrc/memory/reduce.cu:reduce_2_kernel",
    minutes=20,
    requires=("9.3",),
    task="Add up n floats. Each thread block puts its 256 elements into shared memory (0 where there is none) and "
    "adds them up in rounds: in each round the first half of what is left adds the second half to itself, 256 to 128 "
    "to 64 and so on, until one sum is left, which one thread adds to `total[0]` with `atomicAdd`. With n = 300 there "
    "are two blocks, and two calls of `atomicAdd`.",
    hints=(
        "`__shared__ float partial[THREADS];`, filled by all threads. Then a loop over `half` = 128, 64, ..., 1.",
        "In each round the threads below `half` do `partial[threadIdx.x] += partial[threadIdx.x + half]`. Nobody may "
        "begin a round before everybody has finished the last one, and every thread must come to each "
        "`__syncthreads()`.",
        "partial[threadIdx.x] = i < n ? x[i] : 0.0f; __syncthreads(); for (int half = THREADS / 2; half > 0; half /= "
        "2) { if (threadIdx.x < half) { partial[threadIdx.x] += partial[threadIdx.x + half]; } __syncthreads(); } if "
        "(threadIdx.x == 0) { atomicAdd(total, partial[0]); }",
    ),
    mutants=(
        Mutant(
            "        __syncthreads();  // outside the if: every thread of the block must come here\n",
            "",
            "A thread reads a number that another has not written yet. Wait with `__syncthreads()` when the elements "
            "have been put down, and again after each round.",
        ),
        Mutant(
            "        }\n        __syncthreads();  // outside the if: every thread of the block must come here\n",
            "            __syncthreads();\n        }\n",
            "`__syncthreads()` stands inside the `if`, where only some threads come. The others wait somewhere else, "
            "and on a GPU the block may hang for ever. Put it behind the `if`.",
        ),
        Mutant(
            "i < n ? x[i] : 0.0f",
            "x[i]",
            "The last block has threads too many. They must contribute 0, and must not read behind the end of x.",
        ),
        Mutant(
            "if (threadIdx.x == 0) {",
            "if (threadIdx.x < THREADS) {",
            "The sum of a block was added once by each of its threads. One thread is enough.",
        ),
    ),
)
def check_reduce() -> None:
    module = native.module("memory/reduce.cu", "emulator", check=True)
    for n in (256, 3, 1, 300, 1024):
        x = torch.arange(n, dtype=torch.float32) + 1
        total = torch.full((1,), -1.0)
        with given(f"reduce_2_shared of x = [1, 2, 3, ...], n = {n}"):
            module.reduce_2_shared(x, total, n)
            expect(total, x.sum().reshape(1), "total")
    with given("profile of reduce_2_shared, n = 1024"):
        profile = module.profile("reduce_2_shared", torch.ones(1024), torch.zeros(1), 1024)
        atomics = sum(line.lanes for line in profile.lines if line.operation == "atomic" and line.space == "global")
        expect(atomics, 4, "number of atomicAdd on total", note="One for each of the 4 blocks.")
