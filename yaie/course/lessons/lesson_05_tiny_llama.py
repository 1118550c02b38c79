"""Lesson 05: the functions that a Llama is made of, and a loop that lets it write."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from yaie.course.expect import expect, given
from yaie.course.registry import Lesson, Mutant
from yaie.kernels import model_ops
from yaie.models import llama
from yaie.models.config import ModelConfig

LESSON = Lesson(5, "tiny_llama", "A tiny Llama", minutes=100)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _norm_by_formula(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """RMSNorm in float64, row by row."""
    rows = []
    for row in x.double().flatten(0, -2).tolist():
        root = math.sqrt(sum(value * value for value in row) / len(row) + eps)
        rows.append([value / root for value in row])
    return torch.tensor(rows, dtype=torch.float64).view(x.shape) * weight.double()


NORM_CASES: tuple[tuple[list[list[float]], list[float], float], ...] = (
    ([[1.0, 7.0]], [1.0, 1.0], 0.0),
    ([[1.0, 7.0]], [1.0, 1.0], 11.0),
    ([[1.0, 7.0]], [10.0, 1.0], 0.0),
    ([[1.0, 7.0], [3.0, 21.0]], [1.0, 1.0], 0.0),
    ([[0.0, 0.0, 0.0]], [1.0, 1.0, 1.0], 1e-6),
)


@LESSON.exercise(
    "5.1",
    title="RMSNorm",
    target="yaie.kernels.model_ops:rms_norm",
    minutes=10,
    task="Divide each row by its root mean square, then multiply by `weight`. The row [1, 7] has the squares 1 and 49; "
    "their mean is 25, the root is 5, so with a weight of [1, 1] and eps 0 it becomes [0.2, 1.4]. `eps` is added to "
    "the mean before the root.",
    hints=(
        "Compute in float32 whatever the dtype of `x`, because squares of float16 numbers overflow: 300 * 300 is too "
        "much. Go back to the dtype of `x` before you multiply by the weight.",
        "`x.float().square().mean(dim=-1, keepdim=True)` is the mean square of each row. With `keepdim` its shape is "
        "[..., 1], so it divides all numbers of its row.",
        "wide = x.float(); root = (wide.square().mean(dim=-1, keepdim=True) + eps).sqrt(); "
        "return (wide / root).to(x.dtype) * weight.",
    ),
    mutants=(
        Mutant(
            ".mean(dim=-1, keepdim=True)",
            ".sum(dim=-1, keepdim=True)",
            "The squares were added up and not averaged. It is the root of the *mean* square.",
        ),
        Mutant(
            "torch.rsqrt(", "torch.reciprocal(", "Divide by the root of the mean square, not by the mean square itself."
        ),
        Mutant(
            "    wide = x.float()\n",
            "    wide = x.float() - x.float().mean(dim=-1, keepdim=True)\n",
            "The mean was subtracted first. LayerNorm does that, RMSNorm does not.",
        ),
        Mutant(
            "wide.square().mean(dim=-1, keepdim=True) + eps)",
            "wide.square().mean(dim=-1, keepdim=True))",
            "`eps` was left out. A row of zeros is divided by zero without it.",
        ),
        Mutant(
            "torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)",
            "1 / (wide.square().mean(dim=-1, keepdim=True).sqrt() + eps)",
            "`eps` was added to the root. It belongs under it: add it to the mean square.",
        ),
        Mutant(
            ".mean(dim=-1, keepdim=True)",
            ".mean()",
            "One root was computed for all tokens together. Each row has its own: `mean(dim=-1, keepdim=True)`.",
        ),
        Mutant(".to(x.dtype) * weight\n", ".to(x.dtype)\n", "The weight was left out. Multiply by it at the end."),
        Mutant(
            "    wide = x.float()\n",
            "    wide = x\n",
            "The square of a float16 number overflows above 255. Turn `x` into float32 first.",
        ),
    ),
)
def check_rms_norm() -> None:
    for rows, weight, eps in NORM_CASES:
        x = torch.tensor(rows)
        with given(f"rms_norm(torch.tensor({rows}), torch.tensor({weight}), eps={eps})"):
            got = model_ops.rms_norm(x, torch.tensor(weight), eps)
            expect(got, _norm_by_formula(x, torch.tensor(weight), eps), "result", tolerance=1e-5)
    for shape in ((1, 1), (3, 17), (2, 5, 64)):
        x, weight = _random(*shape) * 3, _random(shape[-1], seed=1)
        with given(f"rms_norm(random {list(shape)}, random weight [{shape[-1]}], eps=1e-5)"):
            got = model_ops.rms_norm(x, weight, 1e-5)
            expect(got, _norm_by_formula(x, weight, 1e-5), "result", tolerance=1e-4)
    half = torch.tensor([[300.0, -300.0, 0.0, 0.0]], dtype=torch.float16)
    weight = torch.ones(4, dtype=torch.float16)
    with given("rms_norm(torch.tensor([[300., -300., 0., 0.]]).half(), torch.ones(4).half(), eps=1e-6)"):
        got = model_ops.rms_norm(half, weight, 1e-6)
        expect(got, _norm_by_formula(half, weight, 1e-6), "result", tolerance=1e-2)
        expect(str(got.dtype), "torch.float16", "dtype of the result")


def _silu_mul_by_formula(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, number by number."""
    rows = []
    for row in gate_up.flatten(0, -2).tolist():
        half = len(row) // 2
        rows.append([g / (1 + math.exp(-g)) * u for g, u in zip(row[:half], row[half:], strict=True)])
    return torch.tensor(rows).view(*gate_up.shape[:-1], -1)


@LESSON.exercise(
    "5.2",
    title="SwiGLU",
    target="yaie.kernels.model_ops:silu_mul",
    minutes=10,
    task="Each row of `gate_up` holds two halves: first the gate, then up. Multiply silu(gate) with up, number by "
    "number. In [1, 0, 2, 3] the gate is [1, 0], its silu is [0.731, 0], and the product with up = [2, 3] is "
    "[1.462, 0].",
    hints=(
        "`gate_up.chunk(2, dim=-1)` cuts a tensor into two halves along its last dimension.",
        "silu(z) = z * sigmoid(z) is `F.silu(z)` in torch. It goes over the gate only.",
        "gate, up = gate_up.chunk(2, dim=-1); return F.silu(gate) * up.",
    ),
    mutants=(
        Mutant(
            "    gate, up = gate_up",
            "    up, gate = gate_up",
            "Gate and up changed places: silu goes over the first half.",
        ),
        Mutant("F.silu(gate) * up", "gate * up", "The gate went in without silu."),
        Mutant("F.silu(gate) * up", "torch.sigmoid(gate) * up", "silu(z) is z * sigmoid(z), and not sigmoid(z) alone."),
        Mutant("F.silu(gate) * up", "F.silu(gate) + up", "The gate is multiplied with up, not added to it."),
        Mutant(
            ".chunk(2, dim=-1)",
            ".unflatten(-1, (-1, 2)).unbind(-1)",
            "The columns were dealt out in turn. The gate is the first half of the columns, up is the second half.",
        ),
        Mutant(
            ".chunk(2, dim=-1)",
            ".chunk(2, dim=0)",
            "The tokens were cut in two and not the columns: `chunk(2, dim=-1)`.",
        ),
    ),
)
def check_silu_mul() -> None:
    for rows in ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0, 2.0, 3.0]], [[-1.0, 2.0, 0.5, -3.0, 1.0, 4.0]]):
        gate_up = torch.tensor(rows)
        with given(f"silu_mul(torch.tensor({rows}))"):
            expect(model_ops.silu_mul(gate_up), _silu_mul_by_formula(gate_up), "result", tolerance=1e-4)
    for shape in ((1, 2), (7, 40), (2, 3, 66)):
        gate_up = _random(*shape, seed=2) * 3
        with given(f"silu_mul(random {list(shape)})"):
            expect(model_ops.silu_mul(gate_up), _silu_mul_by_formula(gate_up), "result", tolerance=1e-4)


class _Exchange(nn.Module):
    """Stands for attention in the small cases, so that the numbers can be followed by hand."""

    def forward(self, x: torch.Tensor, cos: Any, sin: Any, attend: Any) -> torch.Tensor:
        return 10 * x.flip(-1)


def _block(hidden_size: int, intermediate_size: int, seed: int) -> llama.DecoderBlock:
    """A block with random weights, those of the norms included."""
    config = ModelConfig(
        vocab_size=11,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=4,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
    )
    block = llama.DecoderBlock(config).requires_grad_(False)
    for i, parameter in enumerate(block.parameters()):
        parameter.copy_(_random(*parameter.shape, seed=seed + i) / 2)
    return block


def _block_by_formula(block: llama.DecoderBlock, hidden: torch.Tensor, *for_attention: Any) -> torch.Tensor:
    """The block in float64, but for the attention module, which is called as it is."""
    normed = _norm_by_formula(hidden, block.input_norm, block.eps).float()
    middle = hidden.double() + block.attention(normed, *for_attention).double()
    normed = _norm_by_formula(middle, block.post_attention_norm, block.eps).float()
    return middle + block.down_proj(_silu_mul_by_formula(block.gate_up_proj(normed))).double()


@LESSON.exercise(
    "5.3",
    title="The decoder block",
    target="yaie.models.llama:DecoderBlock.forward",
    minutes=15,
    requires=("5.1", "5.2"),
    task="Wire the two halves of a block: hidden + attention(norm(hidden)), then that sum + mlp(norm(sum)). The norms "
    "go into the halves only; what is added to is never normalised. If attention exchanged the two numbers it gets and "
    "multiplied them by 10, [1, 7] would become [1, 7] + 10 * [1.4, 0.2] = [15, 9] after the first half.",
    hints=(
        "There are four lines: normalise, attend and add; normalise, MLP and add. Each half works on a normalised copy "
        "and adds to the hidden state itself.",
        "The second half starts from the result of the first, not from the hidden state that came in. It has a norm of "
        "its own, `self.post_attention_norm`. The MLP is `swiglu(normed, self.gate_up_proj, self.down_proj)`.",
        "normed = rms_norm(hidden, self.input_norm, self.eps); hidden = hidden + self.attention(normed, cos, sin, "
        "attend); and the same again with self.post_attention_norm and swiglu.",
    ),
    mutants=(
        Mutant(
            "    hidden = hidden + self.attention(normed, cos, sin, attend)\n",
            "    hidden = self.attention(normed, cos, sin, attend)\n",
            "What attention says replaced the hidden state. It is added to it.",
        ),
        Mutant(
            "    return hidden + swiglu(",
            "    return swiglu(",
            "What the MLP says replaced the hidden state. It is added to it.",
        ),
        Mutant(
            "    hidden = hidden + self.attention(",
            "    hidden = normed + self.attention(",
            "The normalised copy was added to. The hidden state itself goes on, as it came in.",
        ),
        Mutant(
            "    normed = rms_norm(hidden, self.post_attention_norm, self.eps)\n",
            "",
            "The MLP got the same input as attention. Normalise again after the first half.",
        ),
        Mutant(
            "self.post_attention_norm",
            "self.input_norm",
            "The second norm has weights of its own: `self.post_attention_norm`.",
        ),
        Mutant(
            "    hidden = hidden + self.attention(normed, cos, sin, attend)\n"
            "    normed = rms_norm(hidden, self.post_attention_norm, self.eps)\n"
            "    return hidden + swiglu(",
            "    attended = self.attention(normed, cos, sin, attend)\n"
            "    normed = rms_norm(hidden, self.post_attention_norm, self.eps)\n"
            "    return hidden + attended + swiglu(",
            "The MLP works on the sum after attention, not on the hidden state that came in.",
        ),
        Mutant(
            "    normed = rms_norm(hidden, self.input_norm, self.eps)\n"
            "    hidden = hidden + self.attention(normed, cos, sin, attend)\n",
            "    hidden = hidden + self.attention(hidden, cos, sin, attend)\n",
            "Attention got the hidden state without its norm.",
        ),
    ),
)
def check_decoder_block() -> None:
    block = _block(2, 2, seed=0)
    block.attention = _Exchange()
    block.input_norm.copy_(torch.tensor([1.0, 1.0]))
    block.post_attention_norm.copy_(torch.tensor([2.0, 1.0]))
    for rows in ([[1.0, 7.0]], [[3.0, -4.0], [0.5, 0.0]]):
        hidden = torch.tensor(rows)
        expected = _block_by_formula(block, hidden, None, None, None)
        with given(
            f"block(torch.tensor({rows}), cos, sin, attend), where attention exchanges the two numbers and multiplies "
            "them by 10, input_norm is [1, 1] and post_attention_norm is [2, 1]"
        ):
            got = block(hidden, None, None, None)
            expect(got, expected, "hidden state", tolerance=1e-3)
    for num_tokens, hidden_size, intermediate_size in ((1, 8, 12), (5, 8, 20), (17, 24, 33)):
        block = _block(hidden_size, intermediate_size, seed=num_tokens)
        hidden = _random(num_tokens, hidden_size, seed=9)
        cos, sin = torch.full((num_tokens, 1, 2), 0.6), torch.full((num_tokens, 1, 2), 0.8)

        def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            return query + (key + value).expand_as(query)

        expected = _block_by_formula(block, hidden, cos, sin, attend)
        with given(f"block(random [{num_tokens}, {hidden_size}], cos, sin, attend), with random weights"):
            expect(block(hidden, cos, sin, attend), expected, "hidden state", tolerance=1e-3)


class _SumModel:
    """A model whose next token is (sum of all tokens so far) % 10, with the calls of the real one."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.calls: list[int] = []

    def forward_contiguous(
        self, token_ids: torch.Tensor, past: list[int] | None = None
    ) -> tuple[torch.Tensor, list[int]]:
        self.calls.append(len(token_ids))
        seen, logits = list(past or []), torch.zeros(len(token_ids), 10)
        for row, token in enumerate(token_ids.tolist()):
            seen.append(token)
            logits[row, sum(seen) % 10] = 1.0
        return logits, seen


def _continue_slowly(prompt: list[int], max_new_tokens: int, stop: tuple[int, ...]) -> list[int]:
    text = list(prompt)
    while len(text) < len(prompt) + max_new_tokens and not (len(text) > len(prompt) and text[-1] in stop):
        text.append(sum(text) % 10)
    return text[len(prompt) :]


@LESSON.exercise(
    "5.4",
    title="Generate with a cache",
    target="yaie.models.llama:generate_greedy",
    minutes=20,
    task="Send the prompt through the model once, then one token at a time, each with the past that the call before "
    "returned. The next token is the one with the largest logit in the last row. With a model whose next token is the "
    "sum of all tokens so far, modulo 10, the prompt [1, 2] is continued by 3, 6, 2, 4.",
    hints=(
        "Three things go round the loop: the tokens to send, the past, and the list of new tokens. The first call "
        "sends the prompt and has no past.",
        "`logits, past = model.forward_contiguous(tokens, past)`, with `tokens` a tensor of token ids on "
        "`model.device`. The new token is `int(logits[-1].argmax())`. Add it to the list before you ask whether it "
        "stops the text.",
        "new, past, generated = torch.tensor(token_ids), None, []; while len(generated) < max_new_tokens: call; "
        "token = ...; append it; break if it stops; new = torch.tensor([token]).",
    ),
    mutants=(
        Mutant(
            "logits[-1]",
            "logits[0]",
            "The token was read from the first row of the logits. The last row is about the next token.",
        ),
        Mutant(
            "logits, past = model.forward_contiguous(new, past)",
            "logits, _ = model.forward_contiguous(new, past)",
            "The past was not kept: the model saw only the newest token.",
        ),
        Mutant(
            "        new = torch.tensor([token], device=model.device)\n",
            "        new = torch.cat((new, torch.tensor([token], device=model.device)))\n",
            "The whole text was sent again beside its past, so the model saw it twice. Send only the newest token.",
        ),
        Mutant(
            "logits, past = model.forward_contiguous(new, past)\n"
            "        token = int(logits[-1].argmax())\n"
            "        generated.append(token)\n"
            "        if token in stop_token_ids:\n"
            "            break\n"
            "        new = torch.tensor([token], device=model.device)\n",
            "logits, _ = model.forward_contiguous(torch.tensor(token_ids + generated, device=model.device))\n"
            "        token = int(logits[-1].argmax())\n"
            "        generated.append(token)\n"
            "        if token in stop_token_ids:\n"
            "            break\n",
            "The tokens are right, but the whole text was computed again at every step. Keep the past that each call "
            "returns, give it to the next call, and send only the newest token.",
        ),
        Mutant(
            "    return generated\n",
            "    return token_ids + generated\n",
            "The prompt was returned, too. Return the new tokens only.",
        ),
        Mutant(
            "len(generated) < max_new_tokens",
            "len(generated) <= max_new_tokens",
            "One token too many: stop when there are `max_new_tokens`.",
        ),
        Mutant(
            "        generated.append(token)\n        if token in stop_token_ids:\n            break\n",
            "        if token in stop_token_ids:\n            break\n        generated.append(token)\n",
            "The token that stops the text is part of the result. Append it before you leave the loop.",
        ),
        Mutant(
            "        if token in stop_token_ids:\n            break\n", "", "A token of `stop_token_ids` ends the text."
        ),
    ),
)
def check_generate_greedy() -> None:
    for prompt, max_new_tokens, stop in (
        ([1, 2], 1, ()),
        ([1, 2], 4, ()),
        ([1, 2], 4, (6,)),
        ([7], 0, ()),
        ([3, 3], 3, (6, 3)),
        ([5, 1, 1, 1], 9, (0, 4)),
    ):
        model, told = _SumModel(), f", stop_token_ids={stop}" if stop else ""
        with given(f"generate_greedy(model, {prompt}, {max_new_tokens}{told}); the model's next token is sum % 10"):
            got = llama.generate_greedy(model, prompt, max_new_tokens, stop)
            expected = _continue_slowly(prompt, max_new_tokens, stop)
            expect(got, expected, "list of new tokens")
            calls = [len(prompt) if i == 0 else 1 for i in range(len(expected))]
            expect(model.calls, calls, "number of tokens sent to the model in each call")
    _check_with_a_llama()


def _check_with_a_llama() -> None:
    """A random Llama of two layers: the tokens of the cached loop are those of the forward pass without a cache."""
    config = ModelConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=24,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        max_position_embeddings=64,
    )
    model = llama.Llama(config)
    for i, parameter in enumerate(model.parameters()):
        parameter.copy_(_random(*parameter.shape, seed=i) / 3)
    prompt = list(range(17))
    text = list(prompt)
    for _ in range(8):
        text.append(int(model.forward_naive(torch.tensor(text))[-1].argmax()))
    with given("generate_greedy(a random Llama, list(range(17)), 8)"):
        expect(
            llama.generate_greedy(model, prompt, 8), text[17:], "list of new tokens (expected: those without a cache)"
        )
