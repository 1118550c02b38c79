"""Lesson 17: the engine runs on the kernels: choosing a backend, calling a launcher, decode steps in CUDA graphs."""

from __future__ import annotations

from typing import Any

import torch

from yaie.course.expect import expect, expect_error, given
from yaie.course.registry import Lesson, Mutant
from yaie.engine import cuda_graph
from yaie.kernels import api
from yaie.kernels.native import memory
from yaie.models.batch import Batch

LESSON = Lesson(17, "integration", "Integration: your kernels serve", minutes=75)


def _tables(refuses: bool = False) -> dict[str, dict[str, Any]]:
    """Backends whose functions say whose they are. The kernel of "cuda" refuses all arguments if told to."""

    def function_of(name: str) -> Any:
        def run(x: int, by: int = 1) -> str:
            if refuses and name == "cuda":
                raise api.BackendError("this kernel takes other arguments")
            return f"{name} got {x} and {by}"

        return run

    return {
        "torch": {"rope": function_of("torch"), "sample": function_of("torch")},
        "cuda": {"rope": function_of("cuda")},
        "emulator": {"rope": function_of("emulator")},
    }


CHOICES: tuple[tuple[str, str, bool, str], ...] = (
    # backend, operation, whether on a GPU, whose function it must be
    ("torch", "rope", False, "torch"),
    ("emulator", "rope", False, "emulator"),
    ("cuda", "rope", True, "cuda"),
    ("torch", "rope", True, "torch"),
    ("auto", "rope", False, "torch"),
    ("auto", "rope", True, "cuda"),
    ("auto", "sample", False, "torch"),
    ("auto", "sample", True, "torch"),
)


@LESSON.exercise(
    "17.1",
    title="Choose a backend",
    target="yaie.kernels.api:choose",
    minutes=15,
    task='Find the function that runs an operation for a caller who asked for a backend by name, or for "auto". With '
    'the kernels {"cuda": {"rope": f}}, "auto" on a GPU gives f for "rope", and torch\'s function for "sample"; "cuda" '
    'gives f for "rope" and raises `BackendError` for "sample".',
    hints=(
        'Three cases: a name; "auto" on the CPU; "auto" on a GPU. Only the last one may change its mind, and it can do '
        "so only when the function is called.",
        'For "auto" on a GPU return a function of your own, with `*args, **kwargs`. It calls the kernel inside `try`, '
        "and torch's function inside `except BackendError`.",
        'if backend == "auto" and not on_gpu: return tables["torch"][operation]. kernel = tables["cuda" if backend == '
        '"auto" else backend].get(operation). For a name: raise BackendError if it is None, else return it. For '
        '"auto": torch\'s function if it is None, else the function with `try`.',
    ),
    mutants=(
        Mutant(
            '    if backend != "auto":\n        if kernel is None:\n',
            '    if backend != "auto":\n        if kernel is None:\n            return plain\n'
            "        if kernel is None:\n",
            "A backend that was asked for by name was replaced by torch, and nobody said so. The caller believes "
            "that the kernel ran.",
        ),
        Mutant(
            "    if kernel is None:\n        return plain\n\n    def",
            "    if kernel is None:\n        raise BackendError(operation)\n\n    def",
            '"auto" promises an answer: where there is no kernel, torch computes.',
        ),
        Mutant(
            "        except BackendError:\n",
            "        except Exception:\n",
            "Every error of the kernel is hidden, also a failed launch. Fall back on `BackendError` only.",
        ),
        Mutant(
            'tables["cuda" if backend == "auto" else backend]',
            'tables["emulator" if backend == "auto" else backend]',
            '"auto" took the emulator. It runs on the CPU and is a thousand times slower than a GPU.',
        ),
        Mutant(
            "        try:\n            return kernel(*args, **kwargs)\n        except BackendError:\n"
            "            return plain(*args, **kwargs)\n",
            "        return kernel(*args, **kwargs)\n",
            'A kernel that refuses its arguments (`BackendError`) must not end an "auto" call: torch can do it.',
        ),
    ),
)
def check_choose() -> None:
    for backend, operation, on_gpu, owner in CHOICES:
        with given(f"choose({backend!r}, {operation!r}, on_gpu={on_gpu}, tables)(5, by=2)"):
            got = api.choose(backend, operation, on_gpu, _tables())(5, by=2)
            expect(got, f"{owner} got 5 and 2", "answer of the chosen function")
    for backend, on_gpu in (("emulator", False), ("cuda", True)):
        with given(f"choose({backend!r}, 'sample', on_gpu={on_gpu}, tables)(5); only torch has 'sample'"):
            expect_error(
                lambda: api.choose(backend, "sample", on_gpu, _tables())(5),  # noqa: B023
                api.BackendError,
                "answer",
            )
    with given("choose('auto', 'rope', on_gpu=True, tables)(5); the kernel of 'cuda' raises BackendError"):
        got = api.choose("auto", "rope", True, _tables(refuses=True))(5)
        expect(got, "torch got 5 and 1", "answer of the chosen function")
    with given("choose('cuda', 'rope', on_gpu=True, tables)(5); the kernel of 'cuda' raises BackendError"):
        run = api.choose("cuda", "rope", True, _tables(refuses=True))
        expect_error(lambda: run(5), api.BackendError, "answer")
    with given("choose('auto', 'rope', on_gpu=True, tables)(5, 6, 7); the kernel raises TypeError"):
        tables = _tables()
        tables["torch"]["rope"] = lambda *args: "torch hides it"
        run = api.choose("auto", "rope", True, tables)
        expect_error(lambda: run(5, 6, 7), TypeError, "answer")


def _appended(
    key: torch.Tensor, value: torch.Tensor, slots: list[int], dtype: torch.dtype, index: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """The caches after `reshape_and_cache` on caches of -1, and what they must be: two tensors `[2, 3, 4, ...]`."""
    shape = (2, 3, 4, *key.shape[1:])
    caches = torch.full(shape, -1.0, dtype=dtype)
    expected = caches.clone()
    for token, slot in enumerate(slots):
        if slot >= 0:
            expected[0].flatten(0, 1)[slot] = key[token].to(dtype)
            expected[1].flatten(0, 1)[slot] = value[token].to(dtype)
    memory.reshape_and_cache("emulator", key, value, caches[0], caches[1], torch.tensor(slots, dtype=index))
    return caches, expected


@LESSON.exercise(
    "17.2",
    title="Call a launcher",
    target="yaie.kernels.native.memory:reshape_and_cache",
    minutes=15,
    task="Call the kernel of lesson 09 that stores new keys and values in their slots. The launcher takes addresses "
    "and believes you: what has another dtype, or gaps, must be made fit before. One KV head of 8 numbers in float16 "
    "has 16 bytes a token.",
    hints=(
        "Three tensors may not be as the launcher wants them: key, value and slot_mapping. For each, think of its "
        "dtype and of its strides.",
        "`x.to(dtype)` converts and `x.contiguous()` closes the gaps; where nothing is to do, neither copies. Slots "
        "are int64: `slot_mapping.long()`.",
        'module("memory/reshape_and_cache.cu", backend).reshape_and_cache(key.to(key_cache.dtype).contiguous(), the '
        "same "
        "for value, key_cache, value_cache, slot_mapping.long().contiguous(), len(slot_mapping), "
        "token_bytes(key_cache))",
    ),
    mutants=(
        Mutant(
            "key.to(key_cache.dtype).contiguous()",
            "key.contiguous()",
            "The kernel copies bytes. Keys in another dtype than the cache's must be converted before.",
        ),
        Mutant(
            "        len(slot_mapping),\n        token_bytes(key_cache),\n",
            "        len(slot_mapping),\n        key_cache.shape[-1] * key_cache.element_size(),\n",
            "A token has the numbers of all KV heads; here only one head of each was stored.",
        ),
        Mutant(
            "        value.to(value_cache.dtype).contiguous(),\n",
            "        value.to(value_cache.dtype).as_strided(value.shape, torch.empty(value.shape).stride()),\n",
            "The values come from a view with gaps, and the kernel was given the numbers in the gaps. `.contiguous()` "
            "makes a copy without gaps.",
        ),
    ),
    time_limit=20.0,
)
def check_reshape_and_cache() -> None:
    f32, f16, i64, i32 = torch.float32, torch.float16, torch.int64, torch.int32
    numbers = torch.arange(1.0, 200.0)
    cases = (
        # description, key, value, slots, dtype of the cache, dtype of the slots
        ("1 token", numbers[:2].view(1, 1, 2), numbers[4:6].view(1, 1, 2), [5], f32, i64),
        ("2 KV heads", numbers[:8].view(2, 2, 2), numbers[8:16].view(2, 2, 2), [5, 0], f32, i64),
        ("padding (slot -1)", numbers[:6].view(3, 1, 2), numbers[6:12].view(3, 1, 2), [3, -1, 11], f32, i64),
        ("slots in int32", numbers[:4].view(2, 1, 2), numbers[4:8].view(2, 1, 2), [7, 2], f32, i32),
        ("a cache in float16", numbers[:4].view(2, 1, 2), numbers[4:8].view(2, 1, 2), [7, 2], f16, i64),
    )
    for what, key, value, slots, dtype, index in cases:
        with given(
            f"reshape_and_cache('emulator', key, value, key_cache, value_cache, {slots}): {what}; key "
            f"{key.tolist()}, value {value.tolist()}; caches of 3 blocks of 4 slots, full of -1"
        ):
            caches, expected = _appended(key, value, slots, dtype, index)
            expect(caches[0], expected[0], "key_cache afterwards")
            expect(caches[1], expected[1], "value_cache afterwards")
    projected = numbers[:24].view(3, 4, 2)
    with given(
        "reshape_and_cache('emulator', projected[:, 2:3], projected[:, 3:], key_cache, value_cache, [4, 1, 6]): "
        "views of one tensor projected = arange(1, 25).view(3, 4, 2)"
    ):
        caches, expected = _appended(projected[:, 2:3], projected[:, 3:], [4, 1, 6], f32, i64)
        expect(caches[0], expected[0], "key_cache afterwards")
        expect(caches[1], expected[1], "value_cache afterwards")


@LESSON.exercise(
    "17.3",
    title="Find the bucket",
    target="yaie.engine.cuda_graph:bucket_for",
    minutes=5,
    task="Graphs are captured for a few numbers of sequences. Find the smallest that holds a batch. With the buckets "
    "[1, 2, 4, 8], 3 sequences go into 4, 4 into 4, and 9 do not fit: None.",
    hints=(
        "The buckets are in ascending order: the first one that is large enough is the smallest.",
        "A loop over `sizes` with one `if`; and what if it ends?",
        "for size in sizes: if size >= num_seqs: return size. After the loop: return None.",
    ),
    mutants=(
        Mutant(
            "    place = bisect_left(sizes, num_seqs)\n",
            "    place = bisect_left(sizes, num_seqs + 1)\n",
            "A batch that fills its bucket exactly belongs into it, and not into the next one.",
        ),
        Mutant(
            "    return sizes[place] if place < len(sizes) else None\n",
            "    return sizes[min(place, len(sizes) - 1)]\n",
            "More sequences than the largest bucket holds do not fit: the answer is None, and the step runs without "
            "a graph.",
        ),
        Mutant(
            "    return sizes[place] if place < len(sizes) else None\n",
            "    return sizes[-1] if place < len(sizes) else None\n",
            "The largest bucket holds everything, but then each step computes all of its rows. Take the smallest that "
            "is large enough.",
        ),
    ),
)
def check_bucket_for() -> None:
    for sizes in ([1], [1, 2, 4, 8], [1, 2, 4, 8, 16, 20]):
        for num_seqs in range(1, sizes[-1] + 3):
            with given(f"bucket_for({num_seqs}, {sizes})"):
                fitting = [size for size in sizes if size >= num_seqs]
                expect(cuda_graph.bucket_for(num_seqs, sizes), min(fitting, default=None), "bucket")


def _batch(rows: list[tuple[int, int, int, int, list[int]]], width: int) -> Batch:
    """Rows of (token, position, slot, context, block table); tables are padded with 0 to `width`."""
    columns = list(zip(*rows, strict=True))
    token_ids, positions, slots, context_lens = (torch.tensor(column) for column in columns[:4])
    tables = torch.tensor([table + [0] * (width - len(table)) for table in columns[4]])
    return Batch(token_ids, positions, slots, tables, context_lens, [1] * len(rows))


def _static(size: int, width: int) -> Batch:
    """What a graph's tensors hold after an earlier batch: numbers that must not stay."""
    return _batch([(90 + row, 80 + row, 70 + row, 60 + row, [9] * width) for row in range(size)], width)


FILLED: tuple[tuple[int, int, list[tuple[int, int, int, int, list[int]]]], ...] = (
    # rows of the graph, width of its block tables, the batch
    (1, 2, [(5, 0, 12, 1, [3])]),
    (2, 3, [(5, 4, 28, 5, [3, 7])]),
    (4, 3, [(5, 4, 28, 5, [3, 7]), (6, 0, 4, 1, [1]), (7, 8, 8, 9, [4, 5, 2])]),
    (4, 4, [(row, row, row, row + 1, [row]) for row in range(4)]),
)


@LESSON.exercise(
    "17.4",
    title="Pad a batch for a graph",
    target="yaie.engine.cuda_graph:fill",
    minutes=15,
    requires=("17.3",),
    task="Copy a decode batch into the tensors that a graph reads, and turn the rows that are left over into "
    "padding. A batch of 3 in a bucket of 4: rows 0 to 2 are copied, and row 3 gets token 0, slot -1 and context 0.",
    hints=(
        "The graph has recorded addresses. So write into the tensors of `static`; do not put new ones in their place.",
        "`static.slot_mapping[:num_seqs] = batch.slot_mapping` copies in place. The rows from `num_seqs` on need a "
        "value in three of the fields.",
        "num_seqs, width = batch.block_tables.shape. Copy token_ids, positions, slot_mapping and context_lens into "
        "[:num_seqs], block_tables into [:num_seqs, :width]; then token_ids[num_seqs:] = 0, slot_mapping[num_seqs:] "
        "= -1, context_lens[num_seqs:] = 0.",
    ),
    mutants=(
        Mutant(
            "    static.slot_mapping[num_seqs:] = -1\n",
            "    static.slot_mapping[num_seqs:] = 0\n",
            "Slot 0 is a real slot: the padding's key would be stored in somebody's page. -1 stores nothing.",
        ),
        Mutant(
            "    static.slot_mapping[num_seqs:] = -1\n",
            "",
            "The rows that are left over keep the slots of an earlier batch, and write into pages that have other "
            "owners by now.",
        ),
        Mutant(
            "    static.context_lens[num_seqs:] = 0\n",
            "",
            "The rows that are left over keep an earlier context. They read pages for nothing.",
        ),
        Mutant(
            "    static.token_ids[:num_seqs] = batch.token_ids\n",
            "    static.token_ids = batch.token_ids\n",
            "A new tensor was put in the place of the one that the graph reads. The graph knows the address of the "
            "old one.",
        ),
        Mutant(
            "    static.block_tables[:num_seqs, :width] = batch.block_tables\n",
            "",
            "The block tables were not copied: the graph would read the pages of an earlier batch.",
        ),
    ),
)
def check_fill() -> None:
    for size, width, rows in FILLED:
        static, batch = _static(size, width), _batch(rows, max(len(row[4]) for row in rows))
        names = ("token_ids", "positions", "slot_mapping", "context_lens", "block_tables")
        tensors = {name: getattr(static, name) for name in names}
        n = len(rows)
        with given(
            f"fill(static, batch); static has {size} rows; batch: {n} rows of (token, position, slot, context, "
            f"table) {rows}"
        ):
            cuda_graph.fill(static, batch)
            for name in names:
                if getattr(static, name) is not tensors[name]:
                    expect("another tensor", "the tensor that was there before", f"static.{name}")
            for name, padding in (("token_ids", 0), ("slot_mapping", -1), ("context_lens", 0)):
                expected = [*getattr(batch, name).tolist(), *[padding] * (size - n)]
                expect(getattr(static, name).tolist(), expected, f"static.{name}")
            expect(static.positions[:n].tolist(), batch.positions.tolist(), f"static.positions[:{n}]")
            for row, (*_, table) in enumerate(rows):
                got = static.block_tables[row, : len(table)].tolist()
                expect(got, table, f"first {len(table)} entries of row {row} of static.block_tables")
