"""Lesson 03: attention, from the causal mask to pages of a cache."""

from __future__ import annotations

import math

import torch

from yaie.course.expect import expect, given
from yaie.course.registry import Lesson, Mutant
from yaie.kernels import radix_attention

LESSON = Lesson(3, "attention", "Attention: mask, positions, grouped heads, pages", minutes=120)


def expect_tensor(got: torch.Tensor, expected: torch.Tensor, what: str, dtype: torch.dtype) -> None:
    """Compare shape, dtype and numbers, these rounded to 3 decimals: short enough to be checked by hand."""
    expect(isinstance(got, torch.Tensor), True, f"{what}, `isinstance(result, torch.Tensor)`")
    expect(list(got.shape), list(expected.shape), f"shape of {what}")
    rounded = torch.round(got.detach().double(), decimals=3) + 0.0  # no -0.0
    largest = expected.double().abs().nan_to_num(posinf=0).max().item()
    precision = 1e-7 * largest  # what float32 can tell apart
    expect(rounded, torch.round(expected.double(), decimals=3), what, tolerance=0.0015 + precision)
    expect(str(got.dtype), str(dtype), f"dtype of {what}")


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random float32 numbers between -2 and 2 in steps of a half, so that an input can be copied."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-4, 5, shape, generator=generator).float() / 2


@LESSON.exercise(
    "3.1",
    title="A causal mask with an offset",
    target="yaie.kernels.radix_attention:causal_mask",
    minutes=10,
    task="Say which keys each query may see: its own and all before it. The first query is the token at position "
    "`offset`. For 2 queries, 4 keys and an offset of 2 the rows are [True, True, True, False] and [True, True, True, "
    "True].",
    hints=(
        "Write down the position of each query and of each key. A query sees a key whose position is not larger.",
        "Query positions are offset, offset + 1, ...; key positions are 0, 1, .... A column of one compared with a row "
        "of the other gives the whole table: `a[:, None]` makes a column, `b[None, :]` a row.",
        "queries = torch.arange(offset, offset + q_len, device=device); keys = torch.arange(kv_len, device=device); "
        "return keys[None, :] <= queries[:, None].",
    ),
    mutants=(
        Mutant(
            "torch.arange(offset, offset + q_len, device=device)",
            "torch.arange(q_len, device=device)",
            "The offset was left out, so the queries stand at the positions 0, 1, ... again and see too little of the "
            "past.",
        ),
        Mutant(
            "key_positions[None, :] <= query_positions[:, None]",
            "key_positions[None, :] < query_positions[:, None]",
            "A token may see itself: its own key has the same position as the query.",
        ),
        Mutant(
            "key_positions[None, :] <= query_positions[:, None]",
            "key_positions[None, :] >= query_positions[:, None]",
            "The comparison is the wrong way round: the queries see the future and not the past.",
        ),
        Mutant(
            "key_positions[None, :] <= query_positions[:, None]",
            "key_positions[:, None] <= query_positions[None, :]",
            "Rows and columns changed places: queries are rows and keys are columns.",
        ),
        Mutant(
            "torch.arange(offset, offset + q_len, device=device)",
            "torch.arange(kv_len - q_len, kv_len, device=device)",
            "This takes the last query to stand at the last key. The offset says where the queries stand; there may be "
            "keys behind them.",
        ),
    ),
)
def check_causal_mask() -> None:
    for q_len, kv_len, offset in (
        (1, 1, 0),
        (1, 3, 2),
        (2, 2, 0),
        (2, 4, 2),
        (3, 3, 0),
        (2, 5, 1),
        (1, 4, 0),
        (5, 17, 12),
        (16, 33, 15),
    ):
        with given(f"causal_mask(q_len={q_len}, kv_len={kv_len}, offset={offset})"):
            got = radix_attention.causal_mask(q_len, kv_len, offset)
            expect(isinstance(got, torch.Tensor), True, "result, `isinstance(result, torch.Tensor)`")
            rows = [[key <= offset + query for key in range(kv_len)] for query in range(q_len)]
            expect(got, rows, "mask (one row per query)")
            expect(str(got.dtype), "torch.bool", "dtype of the mask")


@LESSON.exercise(
    "3.2",
    title="Rotate pairs (RoPE)",
    target="yaie.kernels.radix_attention:rotate",
    minutes=15,
    task="Turn each pair of numbers of each head by its angle. A pair is number i of the first half and number i of "
    "the second half: (a, b) becomes (a cos - b sin, b cos + a sin). A head [1, 2, 3, 4] has the pairs (1, 3) and "
    "(2, 4). A quarter turn for the first and none for the second gives [-3, 2, 1, 4].",
    hints=(
        "Cut the last axis into two halves. All first numbers of the pairs are in the one, all second in the other.",
        "`first, second = x.chunk(2, dim=-1)`. The shapes of `cos` and `sin` fit: their axis of length 1 stands for "
        "all heads.",
        "torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1), and at the end .to(x.dtype), "
        "because cos and sin are float32 and x may not be.",
    ),
    mutants=(
        Mutant(
            "second * cos + first * sin",
            "second * cos - first * sin",
            "A sign is wrong: the second number of a turned pair is b cos + a sin.",
        ),
        Mutant(
            "(first * cos - second * sin, second * cos + first * sin)",
            "(first * cos + second * sin, second * cos - first * sin)",
            "The pairs were turned the other way round.",
        ),
        Mutant(
            "first, second = x.chunk(2, dim=-1)",
            "first, second = x[..., 0::2], x[..., 1::2]",
            "Neighbours were paired. Here the partner of number i is number i + head_dim / 2.",
        ),
        Mutant(
            "(first * cos - second * sin, second * cos + first * sin)",
            "(second * cos + first * sin, first * cos - second * sin)",
            "The two halves of the result changed places.",
        ),
        Mutant("dim=-1).to(x.dtype)", "dim=-1)", "The result has the dtype of `cos`. It should have the dtype of `x`."),
    ),
)
def check_rotate() -> None:
    quarter, half, none = (0.0, 1.0), (-1.0, 0.0), (1.0, 0.0)  # cos and sin of three angles
    for x, turns, text in (
        ([3.0, 4.0], [quarter], "head [3, 4], a quarter turn"),
        ([3.0, 4.0], [(0.6, 0.8)], "head [3, 4], cos 0.6, sin 0.8"),
        ([1.0, 2.0, 3.0, 4.0], [quarter, none], "head [1, 2, 3, 4], a quarter turn for pair 0, none for pair 1"),
        (
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            [none, half, quarter],
            "head [1, 2, 3, 4, 5, 6], no, a half and a quarter turn",
        ),
    ):
        _check_rotation(torch.tensor([[x]]), torch.tensor([turns]), text)
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]]])
    turns = torch.tensor([[none], [quarter]])
    _check_rotation(x, turns, "2 tokens with the heads [1, 2] and [3, 4]; no turn, a quarter turn")
    for seed, (num_tokens, num_heads, head_dim) in enumerate(((3, 2, 8), (5, 1, 80))):
        angles = torch.arange(num_tokens * head_dim // 2).view(num_tokens, -1) * 0.37
        turns = torch.stack((angles.cos(), angles.sin()), dim=-1)
        text = f"{num_tokens} tokens, {num_heads} heads, head_dim {head_dim}, angles of all sizes"
        _check_rotation(numbers(num_tokens, num_heads, head_dim, seed=seed), turns, text)
    x = torch.tensor([[[1.0, 2.0]]], dtype=torch.float16)
    _check_rotation(x, torch.tensor([[quarter]]), "head [1, 2] in float16, a quarter turn")


def _check_rotation(x: torch.Tensor, turns: torch.Tensor, text: str) -> None:
    """x `[num_tokens, num_heads, head_dim]`; turns `[num_tokens, head_dim / 2, 2]`, cosine and sine of each pair."""
    expected = x.clone()
    pairs = x.shape[-1] // 2
    for token, head, i in torch.cartesian_prod(*map(torch.arange, (*x.shape[:2], pairs))).tolist():
        a, b = x[token, head, i].item(), x[token, head, i + pairs].item()
        turned = complex(a, b) * complex(*turns[token, i].tolist())
        expected[token, head, i], expected[token, head, i + pairs] = turned.real, turned.imag
    with given(f"rotate(x, cos, sin): {text}"):
        got = radix_attention.rotate(x, turns[:, None, :, 0], turns[:, None, :, 1])
        expect_tensor(got, expected, "rotated x", x.dtype)


@LESSON.exercise(
    "3.3",
    title="Group the heads that share a KV head",
    target="yaie.kernels.radix_attention:group_heads",
    minutes=15,
    task="Reorder queries so that those which read the same KV head lie side by side. With 4 query heads and 2 KV "
    "heads, query heads 0 and 1 read KV head 0 and query heads 2 and 3 read KV head 1. For one token the 4 rows of "
    "`query[0, 0]` become 2 groups of 2 rows. With more tokens, the rows of a group are: all tokens of its first head, "
    "then all tokens of its second head.",
    hints=(
        "Split the axis of query heads in two: which KV head, and which head in its group. Then only the order of the "
        "axes is wrong.",
        "`reshape(num_seqs, q_len, num_kv_heads, group, head_dim)` splits it, since head h is k * group + g. "
        "`permute` puts the axes in the order: sequence, KV head, group, token, numbers.",
        "query.reshape(num_seqs, q_len, num_kv_heads, num_heads // num_kv_heads, head_dim).permute(0, 2, 3, 1, 4)"
        ".flatten(2, 3).",
    ),
    mutants=(
        Mutant(
            "num_seqs, q_len, num_kv_heads, num_heads // num_kv_heads, head_dim)\n"
            "    return grouped.permute(0, 2, 3, 1, 4).flatten(2, 3)",
            "num_seqs, q_len, num_heads // num_kv_heads, num_kv_heads, head_dim)\n"
            "    return grouped.permute(0, 3, 2, 1, 4).flatten(2, 3)",
            "Heads were dealt out in turn (h % num_kv_heads). Neighbours share a KV head: it is h // group.",
        ),
        Mutant(
            "grouped.permute(0, 2, 3, 1, 4).flatten(2, 3)",
            "grouped.permute(0, 2, 1, 3, 4).flatten(2, 3)",
            "The rows of a group are in the order of tokens. They should be in the order of heads, and for each head "
            "in the order of tokens.",
        ),
        Mutant(
            "grouped.permute(0, 2, 3, 1, 4).flatten(2, 3)",
            "grouped.reshape(num_seqs, num_kv_heads, -1, head_dim)",
            "`reshape` alone does not move anything, so tokens and heads got mixed up. The axes need a `permute`.",
        ),
        Mutant(
            "grouped.permute(0, 2, 3, 1, 4).flatten(2, 3)",
            "grouped.permute(0, 2, 3, 1, 4)",
            "Group and token are still two axes. `flatten(2, 3)` makes rows of them.",
        ),
    ),
)
def check_group_heads() -> None:
    for num_seqs, q_len, num_heads, num_kv_heads in (
        (1, 1, 1, 1),
        (1, 1, 4, 2),
        (1, 2, 4, 2),
        (1, 2, 2, 1),
        (1, 3, 3, 3),
        (2, 3, 6, 2),
        (2, 5, 7, 1),
        (1, 17, 8, 4),
    ):
        axes = [torch.arange(size) for size in (num_seqs, q_len, num_heads, 1)]
        seq, token, head, number = torch.meshgrid(*axes, indexing="ij")
        query = (1000 * seq + 100 * head + token + 0 * number).float()
        group = num_heads // num_kv_heads
        expected = [
            [
                [[1000 * s + 100 * (k * group + g) + i] for g in range(group) for i in range(q_len)]
                for k in range(num_kv_heads)
            ]
            for s in range(num_seqs)
        ]
        with given(
            f"group_heads(query, {num_kv_heads}): {num_seqs} sequences, {q_len} tokens, {num_heads} heads of one "
            "number, which is 1000 * sequence + 100 * head + token"
        ):
            got = radix_attention.group_heads(query, num_kv_heads)
            expect_tensor(got, torch.tensor(expected).float(), "grouped query", torch.float32)


@LESSON.exercise(
    "3.4",
    title="Gather through pages",
    target="yaie.kernels.radix_attention:gather_pages",
    minutes=10,
    task="Collect the tokens of one sequence from the pool, in order of position. With blocks of 2 tokens and the "
    "block table [3, 0], 3 tokens are: both rows of block 3 and the first row of block 0.",
    hints=(
        "Which blocks does the sequence need, and in which order? Rows after the last token do not belong to it.",
        "Only the first ceil(context_len / block_size) entries of the table count. `cache.index_select(0, ids)` "
        "picks blocks in the order of `ids`.",
        "num_blocks = -(-context_len // block_size); cache.index_select(0, block_table[:num_blocks]).flatten(0, 1)"
        "[:context_len].",
    ),
    mutants=(
        Mutant(
            "cache.index_select(0, block_table[:num_blocks])",
            "cache[:num_blocks]",
            "The first blocks of the pool were read. The block table says which blocks belong to the sequence.",
        ),
        Mutant(
            "block_table[:num_blocks]",
            "block_table[:num_blocks].sort().values",
            "The blocks were read in the order of their ids. The order of the table is the order of positions.",
        ),
        Mutant(
            "-(-context_len // block_size)",
            "context_len // block_size",
            "The last block, which is only partly filled, was left out: round the number of blocks up.",
        ),
        Mutant(
            "[:context_len]", "", "Rows after the last token came along. They hold what an earlier request left there."
        ),
        Mutant(
            "block_table[:num_blocks]",
            "block_table",
            "Entries of the table beyond the context length were used. They may be anything.",
        ),
        Mutant(
            ".flatten(0, 1)",
            ".transpose(0, 1).flatten(0, 1)",
            "All first rows of the blocks came first, then all second rows. A block's rows belong together.",
        ),
    ),
)
def check_gather_pages() -> None:
    for block_size, table, context_len, dtype in (
        (2, [3], 2, torch.int64),
        (2, [3, 0], 4, torch.int64),
        (2, [3, 0], 3, torch.int64),
        (2, [3, 0, -1, 99], 4, torch.int32),
        (1, [2, 3, 0], 3, torch.int64),
        (4, [1, 3, 2], 9, torch.int64),
        (16, [3, 1, 0], 33, torch.int64),
        (16, [2, 0], 15, torch.int64),
    ):
        cache = torch.arange(4 * block_size).float().view(4, block_size, 1, 1)
        cache = torch.cat((cache, -cache), dim=2)  # two heads
        rows = [cache[block, row] for block in table if block in range(4) for row in range(block_size)]
        with given(
            f"gather_pages(cache, {table}, {context_len}): 4 blocks of {block_size}, 2 heads of one number, which is "
            "the slot and minus the slot"
        ):
            before = cache.clone()
            got = radix_attention.gather_pages(cache, torch.tensor(table, dtype=dtype), context_len)
            expect_tensor(got, torch.stack(rows[:context_len]), "gathered tokens", torch.float32)
            got.zero_()
            expect(torch.equal(cache, before), True, "`cache` unchanged after the result was written to (a copy)")


@LESSON.exercise(
    "3.5",
    title="Attention, and what a merge needs",
    target="yaie.kernels.radix_attention:attention",
    minutes=25,
    requires=("3.1", "3.3"),
    task="Put it together: scores, scale, mask, softmax, mean of the values. Return the output and `lse`, the "
    "logarithm of the sum of exponentiated scores. For a query [2, 0, 0, 0] and the keys [1, 0, 0, 0] and "
    "[0, 0, 0, 0] the scores are 2 * 1 / 2 = 1 and 0, lse is log(e + 1) = 1.313, and the weights are 0.731 and 0.269.",
    hints=(
        "Convert to float32 first (`torch.promote_types(query.dtype, torch.float32)`), then follow the formula: "
        "scores = query @ key transposed * scale, -inf where the mask is False, softmax, weights @ value.",
        "`group_heads(query, num_kv_heads)` gives [num_seqs, num_kv_heads, group * q_len, head_dim]; keys as "
        "[num_seqs, num_kv_heads, head_dim, kv_len] fit to it. `scores.unflatten(2, (-1, q_len))` puts the queries on "
        "an axis of their own for the mask. `ungroup_heads(x, q_len)` goes back.",
        "largest = scores.amax(-1, keepdim=True), with 0 in place of -inf; weights = (scores - largest).exp(); total = "
        "weights.sum(-1, keepdim=True); out = weights @ value / total, where a total of 0 counts as 1; lse = "
        "total.log() + largest; ungroup both, and squeeze the last axis of lse.",
    ),
    mutants=(
        Mutant(
            "key.shape[2]) * scale",
            "key.shape[2])",
            "The scores were not scaled: each is a sum over head_dim products and has to be multiplied by `scale`.",
        ),
        Mutant(
            "query.shape[-1] ** -0.5 if scale",
            "query.shape[-1] ** -1 if scale",
            "The scale is one over the square root of head_dim, not one over head_dim.",
        ),
        Mutant(
            "scale = query.shape[-1] ** -0.5 if scale is None else scale",
            "scale = query.shape[-1] ** -0.5",
            "The argument `scale` was not used.",
        ),
        Mutant(
            "masked_fill_(~(mask if mask.ndim == 2 else mask[:, None, None]), -math.inf)",
            "masked_fill_((mask if mask.ndim == 2 else mask[:, None, None]), -math.inf)",
            "The mask was used the wrong way round: True means that the query may see the key.",
        ),
        Mutant(
            "mask[:, None, None]), -math.inf)",
            "mask[:, None, None]), 0)",
            "Hidden keys got the score 0, and exp(0) is 1. They need minus infinity, whose exponential is 0.",
        ),
        Mutant(
            "largest = largest.masked_fill(largest == -math.inf, 0)",
            "largest = torch.zeros_like(largest)",
            "The exponential of a large score is infinite. Subtract the largest score of the row first; it cancels in "
            "the end.",
        ),
        Mutant(
            "lse = total.log() + largest",
            "lse = total.log()",
            "The largest score was subtracted before the exponential, so it has to be added to the logarithm again.",
        ),
        Mutant(
            "/ total.masked_fill(total == 0, 1)",
            "/ total",
            "A query that sees no key has a total of 0, and 0 / 0 is not a number. Its output is 0.",
        ),
        Mutant(
            "torch.promote_types(query.dtype, torch.float32)",
            "query.dtype",
            "It was computed in the dtype of the query. Half precision ends at 65,504; compute in float32 at least.",
        ),
    ),
)
def check_attention() -> None:
    _check_attention([[2.0, 0, 0, 0]], [[1.0, 0, 0, 0], [0, 0, 0, 0]], [[10.0], [20.0]])
    _check_attention([[2.0, 0, 0, 0]], [[1.0, 0, 0, 0], [0, 0, 0, 0]], [[10.0], [20.0]], scale=1.0)
    _check_attention([[0.0], [1.0]], [[1.0], [2.0]], [[10.0], [20.0]], mask=[[True, False], [True, True]])
    _check_attention([[1.0]], [[1.0], [2.0]], [[10.0], [20.0]], mask=[[False, False]])
    _check_attention([[100.0]], [[2.0], [1.0]], [[10.0], [20.0]])
    _check_attention([[400.0]], [[400.0], [400.0]], [[1.0], [3.0]], dtype=torch.float16)
    for seed, (num_seqs, q_len, kv_len, num_heads, num_kv_heads, head_dim) in enumerate(
        ((1, 1, 3, 2, 1, 4), (1, 3, 3, 4, 2, 4), (2, 3, 5, 2, 2, 2), (2, 5, 17, 7, 1, 16), (1, 16, 33, 8, 4, 8))
    ):
        query = numbers(num_seqs, q_len, num_heads, head_dim, seed=seed)
        key, value = numbers(2, num_seqs, kv_len, num_kv_heads, head_dim, seed=seed + 10).unbind()
        text = f"{num_seqs} sequences, {q_len} queries, {kv_len} keys, {num_heads} heads, {num_kv_heads} KV heads"
        causal = torch.ones(q_len, kv_len).tril(kv_len - q_len).bool()
        padded = causal.repeat(num_seqs, 1, 1)
        padded[-1, :, :1] = False
        for mask, words in ((None, "no mask"), (causal, "causal mask"), (padded, "a mask per sequence")):
            _compare(query, key, value, mask, None, f"random numbers, {text}, head_dim {head_dim}, {words}")


def _check_attention(query, key, value, mask=None, scale=None, dtype=torch.float32) -> None:
    """One sequence and one head, given as rows; values have one number and are padded with zeros to head_dim."""
    head_dim = len(query[0])
    padded = [[*row, *[0.0] * (head_dim - 1)] for row in value]
    rows = [torch.tensor(rows, dtype=dtype)[None, :, None] for rows in (query, key, padded)]
    more = "".join(f", {name}={given}" for name, given in (("mask", mask), ("scale", scale)) if given is not None)
    more += ", all in float16" if dtype == torch.float16 else ""
    text = f"query {query}, key {key}, value {value}{more} (one head)"
    _compare(*rows, None if mask is None else torch.tensor(mask), scale, text)


def _compare(query, key, value, mask, scale, text) -> None:
    out, lse = _attention_slowly(query, key, value, mask, scale)
    with given(f"attention({text})" if text.startswith("query") else f"attention of {text}"):
        got = (
            radix_attention.attention(query, key, value)
            if mask is None and scale is None
            else radix_attention.attention(query, key, value, mask, scale)
        )
        expect(isinstance(got, tuple) and len(got) == 2, True, "form of the result: (output, lse)")
        expect_tensor(got[0], out, "output", torch.float32)
        expect_tensor(got[1], lse, "lse", torch.float32)


def _attention_slowly(query, key, value, mask, scale) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition, one query and head at a time, in float64."""
    num_seqs, q_len, num_heads, head_dim = query.shape
    group = num_heads // key.shape[2]
    scale = 1 / math.sqrt(head_dim) if scale is None else scale
    out = torch.zeros(query.shape, dtype=torch.float64)
    lse = torch.full(query.shape[:-1], -math.inf, dtype=torch.float64)
    for s, i, h in torch.cartesian_prod(*map(torch.arange, (num_seqs, q_len, num_heads))).tolist():
        row = torch.ones(key.shape[1], dtype=torch.bool) if mask is None else mask[i] if mask.ndim == 2 else mask[s, i]
        keys, values = key[s, row, h // group].double(), value[s, row, h // group].double()
        if len(keys):
            scores = keys @ query[s, i, h].double() * scale
            out[s, i, h], lse[s, i, h] = scores.softmax(0) @ values, scores.logsumexp(0)
    return out, lse
