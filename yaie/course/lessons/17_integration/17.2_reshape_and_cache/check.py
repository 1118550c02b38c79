from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from yaie.course.expect import expect, given, named
from yaie.kernels.ops import KernelOperations

from ..common import NoLooks

LAUNCHER = "memory/reshape_and_cache.cu", "reshape_and_cache"
COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.clone.default, torch.ops.aten.copy_.default}
LOOKS = (
    "The CPU looks at the numbers in a tensor.",
    "On a GPU the CPU would wait here until all that was asked for is done. Sizes come from shapes.",
)


class _Copies(TorchDispatchMode):
    """Counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """There is no compiler to be kept away: PyTorch would import it for that, in 1 s."""
        return False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in COPIES
        return function(*args, **(kwargs or {}))


def _appended(
    key: torch.Tensor, value: torch.Tensor, slots: list[int], dtype: torch.dtype, index: torch.dtype, copies: _Copies
) -> tuple[torch.Tensor, torch.Tensor]:
    """The caches after `reshape_and_cache` on caches of -1, and what they must be: two tensors `[2, 3, 4, ...]`."""
    shape = (2, 3, 4, *key.shape[1:])
    caches = torch.full(shape, -1.0, dtype=dtype)
    expected = caches.clone()
    for token, slot in enumerate(slots):
        if slot >= 0:
            expected[0].flatten(0, 1)[slot] = key[token].to(dtype)
            expected[1].flatten(0, 1)[slot] = value[token].to(dtype)
    operations, mapping = KernelOperations("emulator", check=True), torch.tensor(slots, dtype=index)
    launcher, launches = operations.launch[LAUNCHER], []
    bytes_of_token = key[0].numel() * caches.element_size()
    others = [(key[0].numel(), "This is how many numbers the key of a token has. The launcher wants their bytes.")]
    others += [(2 * bytes_of_token, "These are the bytes of key and value together.")]
    others += [(key[0].numel() * key.element_size(), "These are its bytes before it was converted.")]

    def looked_at(key, value, key_cache, value_cache, slot_mapping, num_tokens, token_bytes):
        launches.append(num_tokens)
        numbers = [(key.numel(), "This is how many numbers the keys have, not how many tokens there are.")]
        numbers += [(1, "One launch stores all tokens.")]
        expect(num_tokens, len(slots), "num_tokens of the launch", note=named(num_tokens, numbers))
        own = {caches[0].data_ptr(): "key_cache", caches[1].data_ptr(): "value_cache"}
        for name, cache in (("key_cache", key_cache), ("value_cache", value_cache)):
            got = own.get(cache.data_ptr(), "another tensor")
            note = "What is stored in a copy is lost with it." if got == "another tensor" else ""
            expect(got, name, f"{name} of the launch", note=note)
        expect(token_bytes, bytes_of_token, "token_bytes of the launch", note=named(token_bytes, others))
        launcher(key, value, key_cache, value_cache, slot_mapping, num_tokens, token_bytes)

    operations.launch[LAUNCHER] = looked_at
    with NoLooks(*LOOKS), copies:
        operations.reshape_and_cache(key, value, caches[0], caches[1], mapping)
    expect(len(launches), 1, "number of launches")
    return caches, expected


def check() -> int:
    f32, f16, i64, i32 = torch.float32, torch.float16, torch.int64, torch.int32
    numbers = torch.arange(1.0, 200.0)
    copies = _Copies()
    cases = (
        # description, key, value, slots, dtype of the cache, dtype of the slots
        ("1 token", numbers[:2].view(1, 1, 2), numbers[4:6].view(1, 1, 2), [5], f32, i64),
        ("2 KV heads", numbers[:8].view(2, 2, 2), numbers[8:16].view(2, 2, 2), [5, 0], f32, i64),
        ("padding (slot -1)", numbers[:6].view(3, 1, 2), numbers[6:12].view(3, 1, 2), [3, -1, 11], f32, i64),
        ("slots in int32", numbers[:4].view(2, 1, 2), numbers[4:8].view(2, 1, 2), [7, 2], f32, i32),
        ("a cache in float16", numbers[:4].view(2, 1, 2), numbers[4:8].view(2, 1, 2), [7, 2], f16, i64),
        (
            "large and negative numbers",
            torch.tensor([[[-70000.0, 1e-9]]]),
            torch.tensor([[[1e9, -0.1]]]),
            [1],
            f32,
            i64,
        ),
    )
    for what, key, value, slots, dtype, index in cases:
        with given(
            f"reshape_and_cache(key, value, key_cache, value_cache, {slots}): {what}; key "
            f"{key.tolist()}, value {value.tolist()}; caches of 3 blocks of 4 slots, full of -1"
        ):
            caches, expected = _appended(key, value, slots, dtype, index, copies)
            expect(caches[0], expected[0], "key_cache afterwards")
            expect(caches[1], expected[1], "value_cache afterwards")
    projected = numbers[:24].view(3, 4, 2)
    with given(
        "reshape_and_cache(projected[:, 2:3], projected[:, 3:], key_cache, value_cache, [4, 1, 6]): "
        "views of one tensor projected = arange(1, 25).view(3, 4, 2)"
    ):
        caches, expected = _appended(projected[:, 2:3], projected[:, 3:], [4, 1, 6], f32, i64, copies)
        expect(caches[0], expected[0], "key_cache afterwards")
        expect(caches[1], expected[1], "value_cache afterwards")
    return copies.count
