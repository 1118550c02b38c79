from __future__ import annotations

from typing import Any, NoReturn

import torch

from yaie.course.expect import expect, given
from yaie.kernels import checks
from yaie.models import llama
from yaie.models.config import ModelConfig

from ..common import random_numbers

ON_THE_CPU = "A model on a GPU refuses tensors on the CPU: make them with `device=model.device`."


class _SumModel:
    """A model whose next token is (sum of all tokens so far) % 10, with the calls of the real one."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.calls: list[int] = []

    def forward_contiguous(
        self, token_ids: torch.Tensor, past: list[int] | None = None
    ) -> tuple[torch.Tensor, list[int]]:
        checks.Sizes().take("num_tokens", checks.INTEGERS, token_ids=token_ids)
        self.calls.append(len(token_ids))
        seen, logits = list(past or []), torch.zeros(len(token_ids), 10)
        for row, token in enumerate(token_ids.tolist()):
            seen.append(token)
            logits[row, sum(seen) % 10] = 1.0
        return logits, seen


class _Sent(Exception):
    """Ends a run as soon as it has shown on which device its tokens are."""


class _ElsewhereModel:
    """A model on a device that every machine has, and that is not the CPU."""

    device = torch.device("meta")

    def forward_contiguous(self, token_ids: torch.Tensor, past: Any = None) -> NoReturn:
        raise _Sent(token_ids.device.type)


def _continue_slowly(prompt: list[int], max_new_tokens: int, stop: tuple[int, ...]) -> list[int]:
    text = list(prompt)
    while len(text) < len(prompt) + max_new_tokens and not (len(text) > len(prompt) and text[-1] in stop):
        text.append(sum(text) % 10)
    return text[len(prompt) :]


def check() -> None:
    for prompt, max_new_tokens, stop in (
        ([1, 2], 1, ()),
        ([1, 2], 4, ()),
        ([1, 2], 4, (6,)),
        ([7], 0, ()),
        ([6, 1], 3, (6,)),  # a stop token in the prompt ends nothing
        ([3, 3], 3, (6, 3)),
        ([5, 1, 1, 1], 9, (0, 4)),
    ):
        model, told = _SumModel(), f", stop_token_ids={stop}" if stop else ""
        with given(f"generate_greedy(model, {prompt}, {max_new_tokens}{told}); the model's next token is sum % 10"):
            handed_in = list(prompt)
            got = llama.generate_greedy(model, handed_in, max_new_tokens, stop)
            expected = _continue_slowly(prompt, max_new_tokens, stop)
            expect(got, expected, "list of new tokens")
            expect([type(token) for token in got], [int] * len(expected), "types of the new tokens")
            calls = [len(prompt) if i == 0 else 1 for i in range(len(expected))]
            expect(model.calls, calls, "number of tokens sent to the model in each call")
            expect(
                handed_in, prompt, "list of the prompt afterwards", note="It is the caller's: make a list of your own."
            )
    _check_with_a_llama()
    with given('generate_greedy(model, [1, 2], 1), where `model.device` is "meta", a device without memory'):
        try:
            llama.generate_greedy(_ElsewhereModel(), [1, 2], 1)
        except _Sent as sent:
            expect(sent.args[0], "meta", "device of the tokens sent to the model", note=ON_THE_CPU)


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
        parameter.copy_(random_numbers(*parameter.shape, seed=i) / 3)
    prompt = list(range(17))
    text = list(prompt)
    for _ in range(8):
        text.append(int(model.forward_naive(torch.tensor(text))[-1].argmax()))
    with given("generate_greedy(a random Llama, list(range(17)), 8)"):
        expect(
            llama.generate_greedy(model, prompt, 8), text[17:], "list of new tokens (expected: those without a cache)"
        )
