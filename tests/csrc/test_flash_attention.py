"""Flash attention, every rung, against softmax in float64: on a GPU, or else in the emulator's check mode.

Tolerances: the output is an average of values of size about 1, so its error is that of its own rounding (one unit
in the last place of the dtype) and of the weights, which the tensor cores take in 16 bits.
"""

import math

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import yaie.cuda
from yaie.kernels import api, ops
from yaie.kernels.ops import attention, launching

BACKEND = "cuda" if torch.cuda.is_available() else "emulator"
HOPPER = (5, 6)  # rungs; on another GPU they cannot run
ON_HOPPER = BACKEND == "emulator" or torch.cuda.get_device_capability() == (9, 0)
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}  # absolute
HALVES = (torch.float16, torch.bfloat16)
FILES = {
    rung: file for rung, file in attention.Kernels.RUNGS["flash_attention"].items() if ON_HOPPER or rung not in HOPPER
}
RUNGS = [
    pytest.param(rung, dtype, id=f"rung{rung}-{str(dtype)[6:]}")
    for rung in FILES
    for dtype in TOLERANCE
    if rung < 4 or dtype in HALVES
]


def width_of(rung):
    """A head_dim that a rung takes."""
    return 64 if rung in HOPPER else 32


def cumulative(lengths):
    return torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32)


def oracle(query, key, value, q_lens, kv_lens, causal, scale=None):
    """Softmax attention in float64, one sequence after the other; a row that sees no key is 0."""
    out = torch.zeros(query.shape, dtype=torch.float64)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    group = query.shape[1] // key.shape[1]
    parts = zip(query.split(q_lens), key.split(kv_lens), value.split(kv_lens), out.split(q_lens), strict=True)
    for q, k, v, o in parts:
        q = q.double().transpose(0, 1)
        k, v = (t.double().transpose(0, 1).repeat_interleave(group, 0) for t in (k, v))
        scores = q @ k.transpose(1, 2) * scale
        if causal:
            q_len, kv_len = scores.shape[1:]
            hidden = torch.arange(kv_len)[None] > torch.arange(q_len)[:, None] + kv_len - q_len
            scores.masked_fill_(hidden, -math.inf)
        o.copy_((torch.softmax(scores, dim=-1).nan_to_num(0) @ v).transpose(0, 1))
    return out


def inputs(q_lens, kv_lens, heads, head_dim, dtype):
    query = torch.randn(sum(q_lens), heads[0], head_dim).to(dtype)
    key, value = (torch.randn(sum(kv_lens), heads[1], head_dim).to(dtype) for _ in range(2))
    return query, key, value


def operations_of(backend, rung=None, sources=None, flags=()):
    rungs = {"flash_attention": rung} if rung else None
    return ops.KernelOperations(backend, rungs=rungs, sources=sources, flags=flags, check=backend == "emulator")


def run(query, key, value, q_lens, kv_lens, *, backend=BACKEND, rung=None, sources=None, flags=(), **options):
    tensors = query, key, value, cumulative(q_lens), cumulative(kv_lens)
    if backend == "cuda":
        tensors = [tensor.cuda() for tensor in tensors]
    lengths = max(q_lens), max(kv_lens)
    return operations_of(backend, rung, sources, flags).flash_attention(*tensors, *lengths, **options).cpu()


def error(
    rung, q_lens, kv_lens, *, heads=(2, 1), head_dim=None, dtype=torch.float32, causal=True, large=1.0, **options
):
    """The largest difference from the oracle, in units of the tolerance; queries are normal draws times `large`.

    A score is a sum of head_dim products: for heads larger than 64 its rounding is allowed to grow with them.
    """
    head_dim = head_dim or width_of(rung)
    query, key, value = inputs(q_lens, kv_lens, heads, head_dim, dtype)
    query *= large
    out = run(query, key, value, q_lens, kv_lens, rung=rung, causal=causal, **options)
    wanted = oracle(query, key, value, q_lens, kv_lens, causal, options.get("scale"))
    off = (out.double() - wanted).abs().nan_to_num(math.inf).amax().item() if out.numel() else 0.0
    return off / (TOLERANCE[dtype] * max(1, head_dim / 64))


@pytest.mark.parametrize(("rung", "dtype"), RUNGS)
def test_lengths_around_a_tile(rung, dtype):
    """The guide's kernel was right up to 32 keys and wrong at 33: a tile overwrote the one before (F1)."""
    for length in (1, 15, 16, 17, 33):
        for causal in (False, True):
            assert error(rung, [length], [length], dtype=dtype, causal=causal) <= 1, (length, causal)


@pytest.mark.parametrize("head_dim", [64, 80, 128, 256])
@pytest.mark.parametrize(
    ("rung", "dtype"), [(1, torch.float32), (2, torch.float32), (3, torch.float32), (4, HALVES[1])]
)
def test_head_dim(rung, dtype, head_dim):
    """Columns beyond head_dim take part in 80's tiles; 128 and 256 need more than 48 KB of shared memory (F7)."""
    assert error(rung, [19], [70], heads=(1, 1), head_dim=head_dim, dtype=dtype) <= 1


@pytest.mark.parametrize("rung", [rung for rung in FILES if rung in HOPPER])
def test_several_tiles_of_keys_and_queries(rung):
    """A ring of stages that goes round more than once, tiles that are full (they come by TMA) and that are not, tiles
    with and without a mask; rung 6 also takes several tiles of queries, one after the other, in a thread block."""
    for q_lens, kv_lens in (([127], [128]), ([129, 300], [129, 300]), ([140], [700])):
        for causal in (False, True):
            for head_dim in (64, 128):
                assert error(rung, q_lens, kv_lens, head_dim=head_dim, dtype=torch.float16, causal=causal) <= 1


@pytest.mark.parametrize("heads", [(4, 1), (8, 2), (7, 1), (3, 3)], ids=str)
@pytest.mark.parametrize("rung", list(FILES))
def test_heads_share_keys(rung, heads):
    """The guide's kernel had no grouped heads (F8): it read the keys of another sequence, or beyond the end."""
    assert error(rung, [17, 3], [17, 9], heads=heads, dtype=torch.float16) <= 1


@pytest.mark.parametrize("rung", list(FILES))
def test_sequences_of_a_batch(rung):
    """An empty sequence, one without queries, one without keys, and more queries than keys, in one batch.

    With more queries than keys the first rows see nothing under a causal mask: they are 0 and not NaN.
    """
    q_lens, kv_lens = [5, 0, 7, 0, 40, 1], [5, 0, 0, 3, 35, 66]
    for causal in (True, False):
        assert error(rung, q_lens, kv_lens, dtype=torch.float16, causal=causal) <= 1


@pytest.mark.parametrize("rung", list(FILES))
def test_queries_at_the_end_of_a_longer_context(rung):
    """Causal with an offset: the beginning of a prompt is cached. A mask without the offset hides too much."""
    assert error(rung, [1, 20, 33], [100, 21, 97], dtype=torch.float16) <= 1


@pytest.mark.parametrize(("rung", "dtype"), RUNGS)
def test_large_logits(rung, dtype):
    """exp() of a score of some hundreds is infinite if the maximum is not taken off first.

    In float32 the scores reach 100 here: rounded in their last places (100 * 2^-24, some terms), they shift the
    weights by that much more than scores of size 1 do.
    """
    large = 20.0 if dtype == torch.float32 else 100.0
    assert error(rung, [40], [70], dtype=dtype, large=large) <= (40 if dtype == torch.float32 else 1)


@pytest.mark.parametrize("rung", list(FILES))
def test_neighbours_do_not_leak(rung):
    """The tile at the end of a sequence reaches into the next one: NaN there must not come through as 0 * NaN."""
    lengths = [33, 20]
    query, key, value = inputs(lengths, lengths, (1, 1), width_of(rung), torch.float16)
    for tensor in (query, key, value):
        tensor[33:] = math.nan
    out = run(query, key, value, lengths, lengths, rung=rung, causal=False)
    wanted = oracle(query[:33], key[:33], value[:33], [33], [33], False)
    assert (out[:33].double() - wanted).abs().max() <= TOLERANCE[torch.float16]


@pytest.mark.parametrize("rung", list(FILES))
def test_scale(rung):
    """Rungs 4 to 6 look for the largest score before they scale, so a scale below 0 has to be treated."""
    for scale in (0.5, -0.25, 0.0):
        assert error(rung, [18], [18], dtype=torch.float16, scale=scale) <= 1


lengths_of_a_batch = st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70)), min_size=1, max_size=3)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lengths=lengths_of_a_batch.filter(lambda pairs: any(q for q, _ in pairs) and any(k for _, k in pairs)),
    heads=st.sampled_from([(1, 1), (2, 1), (3, 3)]),
    head_dim=st.sampled_from([8, 24, 32, 64, 72, 128, 136]),
    rung=st.sampled_from(RUNGS).map(lambda parameter: parameter.values),
    causal=st.booleans(),
)
def test_random_shapes(lengths, heads, head_dim, rung, causal):
    """Shapes that nobody thought of."""
    assume(rung[0] not in HOPPER or head_dim in attention.HOPPER_HEAD_DIMS)
    q_lens, kv_lens = (list(column) for column in zip(*lengths, strict=True))
    assert error(rung[0], q_lens, kv_lens, heads=heads, head_dim=head_dim, dtype=rung[1], causal=causal) <= 1


def test_through_the_api():
    """A batch of rectangles: causal or not, queries at the end of a longer context, padding."""
    device = "cuda" if BACKEND == "cuda" else "cpu"
    q, k, v = (torch.randn(3, 20, heads, 32, device=device) for heads in (4, 2, 2))
    for query, options in (
        (q, {}),
        (q, {"causal": False}),
        (q[:, 15:], {}),
        (q, {"seq_lens": [20, 0, 7]}),
        (q, {"scale": 0.5}),
    ):
        wanted = api.attention_forward(query, k, v, backend="torch", **options)
        out = api.attention_forward(query, k, v, backend=BACKEND, **options)
        torch.testing.assert_close(out, wanted, atol=2 * TOLERANCE[torch.float32], rtol=0)  # both are rounded


def test_what_it_cannot_do_is_refused_by_name():
    """Silently wrong would be worst: auto falls back on torch when it meets this error."""
    q = torch.randn(4, 1, 32)
    refused = {
        "float64": (q.double(), q.double(), q.double()),
        "one dtype": (q, q.half(), q),
        "multiple of 8 up to 256, not 12": (q[..., :12], q[..., :12], q[..., :12]),
        "not 264": (torch.randn(4, 1, 264),) * 3,
    }
    for message, tensors in refused.items():
        with pytest.raises(api.BackendError, match=message):
            run(*tensors, [4], [4], backend="emulator")
    with pytest.raises(api.BackendError, match="cannot do"):
        run(q, q, q, [4], [4], rung=4, backend="emulator")
    with pytest.raises(api.BackendError, match=r"rung 6 .* head_dim 32 .*; rung 4 can"):
        run(q.half(), q.half(), q.half(), [4], [4], rung=6, backend="emulator")


def test_which_rung_computes(monkeypatch):
    """Would catch kernels for Hopper on another card, where they do not compile, and a Hopper that goes without."""
    halves, floats = (torch.bfloat16, 64, 1), (torch.float32, 64, 1)
    monkeypatch.setattr(launching, "obstacle", lambda backend: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(yaie.cuda, "find_nvcc", lambda: "nvcc")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    for capability, rung in (((8, 0), 4), ((9, 0), 6), ((10, 0), 4)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        kernels = ops.KernelOperations("cuda")
        assert kernels.rungs["flash_attention"] == kernels.flash_rung(*halves) == rung
        assert kernels.flash_rung(*floats) == 3
        assert kernels.flash_rung(torch.bfloat16, 80, 1) == kernels.flash_rung(torch.bfloat16, 64, 200) == 4
    assert ops.KernelOperations("emulator").rungs["flash_attention"] == 4
    for capability, rung in (((8, 0), 4), ((9, 0), 6)):  # a wish, where the caller does not insist
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        wish = ops.KernelOperations("cuda", rungs={"flash_attention": 6}, strict=False)
        assert wish.flash_rung(*halves) == rung
        assert wish.flash_rung(torch.bfloat16, 32, 1) == 4
    wish = ops.KernelOperations("emulator", rungs={"flash_attention": 6}, strict=False)
    assert (wish.flash_rung(*halves), wish.flash_rung(torch.bfloat16, 32, 1)) == (6, 4)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(yaie.cuda, "find_nvcc", lambda: None)
    monkeypatch.setattr(yaie.cuda, "find_prebuilt", lambda: None)
    assert ops.KernelOperations("cuda").rungs["flash_attention"] == 4  # built for other cards, and no nvcc


# --- what the rungs claim in their headers ------------------------------------------------------------------


def profile_of(rung, length, *, warp=0, **options):
    query, key, value = inputs([length], [length], (1, 1), options.pop("head_dim", 64), options.pop("dtype", HALVES[0]))
    run(query, key, value, [length], [length], backend="emulator", rung=rung, **options)
    operations = operations_of("emulator", rung, options.get("sources"), options.get("flags", ()))
    return operations.module(FILES[rung][0]).profile()


def global_bytes(profile):
    return sum(line.bytes_moved for line in profile.lines if line.space == "global")


@pytest.mark.parametrize(
    ("rung", "head_dim", "instruction"),
    [*((4, size, "ldmatrix_x4_trans") for size in (64, 128, 256)), (5, 128, "wgmma_ss"), (6, 128, "cp_async_16")],
)
def test_no_bank_is_met_twice(rung, head_dim, instruction):
    """An unswizzled tile has 8-way conflicts at each ldmatrix, and where wgmma reads it."""
    profile = profile_of(rung, 130, head_dim=head_dim)
    assert profile.bank_conflicts == 0
    assert any(instruction in line.source for line in profile.lines)


def test_tiles_move_less_than_scores_in_memory():
    """Rung 1 writes and reads all scores, and reads keys and values once for each row; rung 2 once for 32 rows."""
    naive, tiles = (global_bytes(profile_of(rung, 96, causal=False)) for rung in (1, 2))
    assert tiles * 5 < naive


def test_masked_tiles_are_skipped():
    """F6: the guide's kernel went through all tiles. Of 4 x 4 tiles, 10 touch the lower triangle."""
    for rung, length in ((3, 4 * 64), (4, 4 * 128)):
        keys = []
        for causal in (False, True):
            profile = profile_of(rung, length, causal=causal)
            copies = [line for line in profile.lines if line.space == "shared" and line.bytes_per_lane == 16]
            keys.append(sum(line.bytes for line in copies if line.operation == "load"))
        assert 0.5 < keys[1] / keys[0] < 0.68, rung
    profiles = [profile_of(5, 4 * 128, causal=causal) for causal in (True, False)]
    boxes = [sum(line.bytes for line in each.lines if "tma_load(slot" in line.source) for each in profiles]
    assert boxes[0] / boxes[1] == 20 / 32  # of 8 tiles of rows by 4 of keys


@pytest.mark.parametrize(("rung", "rows"), [(2, 32), (3, 64), (4, 128)])
def test_work_is_spread(rung, rows):
    """F4, F5: the guide's kernel used 32 of 256 threads, and one thread block for each sequence and head."""
    profile = profile_of(rung, 140)
    (launch,) = profile.launches
    assert launch.grid == (-(-140 // rows), 1, 1)
    in_step = [line for line in profile.lines if line.space == "shared"]
    assert sum(line.lanes for line in in_step) > 0.95 * sum(32 * line.requests for line in in_step)


# --- mutants: the guide's defects, put into a rung ----------------------------------------------------------

RUNG_2, RUNG_4, RUNG_6 = "flash_attention_2_tiles", "flash_attention_4_tensor_cores", "flash_attention_6_overlap"
WIPED = """    if (warp_max(score) == -INFINITY) {
        row = {-INFINITY, 0.0f}; rescale = 0.0f; return 0.0f;
    }
    if (most == -INFINITY) {"""
KEYS_AS_ROWS = "lane % 16, chunk + lane / 16"  # as the left operand is read
TAKE_OVER = "    yaie::wgmma_wait<0>();\n    yaie::wgmma_keep(sums);\n    rescale"
MUTANTS = {  # the rung, the text, what takes its place, a length at which it is wrong, one at which it is right (or 0)
    "F1 a tile overwrites the one before": (RUNG_2, "sums[r][c] *= rescale;", "sums[r][c] = 0.0f;", 33, 32),
    "F1 sums of several maxima": (RUNG_2, "row.sum * rescale + warp_sum", "row.sum + warp_sum", 65, 32),
    "F2 a masked tile wipes the row": (RUNG_2, "    if (most == -INFINITY) {", WIPED, 33, 32),
    "F3 no scale": (RUNG_2, "score * problem.scale", "score", 17, 1),
    "F7 shared memory": (RUNG_2, "allow_shared_memory(tiles_kernel<T, COLUMNS>, bytes)", "cudaSuccess", 5, 0),
    "F8 each head its own keys": (RUNG_2, "const int kv_head = head /", "const int kv_head = head + 0 *", 17, 0),
    "no swizzle": (RUNG_4, "(chunk ^ (row % 8))", "chunk", 0, 0),
    "rows for columns of a fragment": (RUNG_4, "lane / 16 * 8 + lane % 8, chunk + lane / 8 % 2", KEYS_AS_ROWS, 17, 0),
    "a copy not waited for": (RUNG_4, "yaie::cp_async_wait<0>();", "yaie::cp_async_wait<1>();", 17, 0),
    "no barrier": (RUNG_4, "    __syncthreads();  // all copies", "    // all copies", 130, 0),
    "no swizzle of cp.async": (RUNG_6, "(chunk ^ row) % 8 * 16", "chunk % 8 * 16", 33, 0),
    "the wrong 16 rows of values": (RUNG_6, "step * (2 * PATTERN_BYTES / 16)", "step * (PATTERN_BYTES / 16)", 33, 0),
    "weights packed too early": (RUNG_6, TAKE_OVER, TAKE_OVER.replace("yaie::wgmma_wait<0>();", ""), 300, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_fail(name):
    """Each is what the guide's kernel did wrong, or a mistake that is easily made; `right_at` keys do not show it."""
    rung, old, new, wrong_at, right_at = MUTANTS[name]
    file = f"flash_attention/{rung}.cu"
    text = (ops.CSRC / file).read_text()
    for header in ("hopper.cuh", "problem.cuh"):
        text = text.replace(f'#include "{header}"', (ops.CSRC / "flash_attention" / header).read_text())
    assert text.count(old) == 1
    dtype, head_dim = (torch.float32, 128) if rung == RUNG_2 else (torch.float16, 64)
    # Only what is asked for is compiled, for time: see csrc/common.cuh.
    flags = f"-DYAIE_DTYPES={1 if dtype == torch.float32 else 2}", f"-DYAIE_MAX_HEAD_DIM={head_dim}"
    changed = {"sources": {file: text.replace(old, new)}, "flags": flags}
    options = {"backend": "emulator", "dtype": dtype, "head_dim": head_dim, **changed}
    number = int(rung.split("_")[2])
    if right_at:
        assert error(number, [right_at], [right_at], causal=False, **options) <= 1
    if name == "no swizzle":
        assert profile_of(number, 130, **changed).bank_conflicts > 0
        return
    try:
        off = max(error(number, [wrong_at], [wrong_at], causal=c, **options) for c in (False, True))
    except yaie.cuda.KernelError:
        return  # found by the emulator
    assert off > 1
