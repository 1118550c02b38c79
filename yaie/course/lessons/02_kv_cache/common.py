"""What the checks of lesson 02 share."""

from __future__ import annotations

import torch

from yaie.course.expect import expect, expect_error
from yaie.kernels import kv_cache


def make(num_blocks: int, block_size: int, num_layers: int = 1) -> kv_cache.KVCacheManager:
    """A pool of one head with one number per token, all different, so that copies can be told apart."""
    manager = kv_cache.KVCacheManager(num_blocks, block_size, 1, 1, torch.float32, num_layers)
    count = num_layers * num_blocks * block_size
    manager.key_cache.copy_(torch.arange(count).view_as(manager.key_cache))
    manager.value_cache.copy_(1000 + torch.arange(count).view_as(manager.value_cache))
    return manager


def give(manager: kv_cache.KVCacheManager, request_id: str, table: list[int], num_tokens: int) -> None:
    """Put a request with that block table into the pool by hand, without the functions under test."""
    for block_id in table:
        if manager.ref_counts[block_id] == 0:
            manager.free_block_list.remove(block_id)
        manager.ref_counts[block_id] += 1
    manager.block_tables[request_id] = list(table)
    manager.context_lens[request_id] = num_tokens


def books(manager: kv_cache.KVCacheManager) -> dict[str, object]:
    """Everything that says who holds what, as a copy."""
    return {
        "free_block_list": list(manager.free_block_list),
        "block_tables": {name: list(table) for name, table in manager.block_tables.items()},
        "context_lens": dict(manager.context_lens),
        "ref_counts": list(manager.ref_counts),
    }


def expect_books(manager: kv_cache.KVCacheManager, expected: dict[str, object], when: str) -> None:
    """Compare each record by itself, so that a failure shows the one that is wrong."""
    found = books(manager)
    for name in expected:
        expect(found[name], expected[name], f"content of {name} {when}")
    for name, table in manager.block_tables.items():
        expect(type(table), list, f'type of block_tables["{name}"] {when}')


class Pool:
    """The tensors of a pool and what they hold, to be compared after a call."""

    def __init__(self, manager: kv_cache.KVCacheManager) -> None:
        self.manager = manager
        self.tensors = {"key_cache": manager.key_cache, "value_cache": manager.value_cache}
        self.expected = {name: tensor.clone() for name, tensor in self.tensors.items()}

    def compare(self) -> None:
        for name, tensor in self.tensors.items():
            found = getattr(self.manager, name)
            is_same = isinstance(found, torch.Tensor) and found.data_ptr() == tensor.data_ptr()
            what = f"pool `self.{name}` afterwards, which others hold as well,"
            expect("the same tensor" if is_same else "another tensor", "the same tensor", what)
            if not is_same:
                return  # nobody else reads what is in it
            for layer, expected in enumerate(self.expected[name]):
                where = f" in layer {layer}" if len(tensor) > 1 else ""
                expect(found[layer].view(-1), expected.view(-1), f"content of {name}{where}, slot by slot,")


def expect_refusal(manager: kv_cache.KVCacheManager, call, error: type[BaseException], what: str) -> None:
    before = books(manager)
    expect_error(call, error, what)
    expect_books(manager, before, "after the error (as before)")
