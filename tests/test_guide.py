"""The test file of the guide that this course grew out of, case by case, with imports from `yaie.kernels`.

Its checks are mostly of shapes. What the numbers must be is tested in `tests/kernels/`, against oracles.
"""

import pytest
import torch

from yaie.kernels.api import attention_forward, copy_blocks, paged_attention_forward
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.radix_attention import RadixAttentionBlock
from yaie.kernels.radix_tree import RadixTree
from yaie.kernels.sampling import SamplingKernel


class TestRadixTree:
    def test_basic_insertion_and_search(self):
        """Catches a match that ends at the wrong token or forgets a request on the path."""
        tree = RadixTree()

        tree.insert_request("req1", [1, 2, 3])
        tree.insert_request("req2", [1, 2, 4])  # shares prefix [1, 2]
        tree.insert_request("req3", [5, 6, 7])  # no shared prefix

        shared, length = tree.find_shared_prefixes([1, 2, 5])
        assert "req1" in shared
        assert "req2" in shared
        assert length == 2

    def test_prefix_sharing_graph(self):
        """Catches a root that does not count the requests below it."""
        tree = RadixTree()
        tree.insert_request("req1", [1, 2, 3])
        tree.insert_request("req2", [1, 2, 4])
        tree.insert_request("req3", [1, 5, 6])

        graph = tree.get_shared_computation_graph()
        assert graph["request_count"] == 3


class TestKVCacheManager:
    def test_basic_allocation(self):
        """Catches a number of blocks that is rounded down, and blocks without tensors."""
        cache_manager = KVCacheManager(num_blocks=100, block_size=16, num_heads=8, head_dim=64, dtype=torch.float16)

        blocks = cache_manager.allocate_blocks("req1", 20)
        assert len(blocks) == 2

        for block_id in blocks:
            block = cache_manager.blocks[block_id]
            assert block.keys is not None
            assert block.values is not None
            assert block.keys.shape == (16, 8, 64)  # block_size, num_heads, head_dim

    def test_block_reuse(self):
        """Catches blocks that do not come back when a request is freed."""
        cache_manager = KVCacheManager(num_blocks=10, block_size=16, num_heads=8, head_dim=64)

        req_ids = [f"req{i}" for i in range(10)]
        for req_id in req_ids:
            cache_manager.allocate_blocks(req_id, 10)

        assert len(cache_manager.free_block_list) == 0

        cache_manager.free_blocks("req0")
        cache_manager.free_blocks("req1")

        assert len(cache_manager.free_block_list) == 2
        assert 0 in cache_manager.free_block_list
        assert 1 in cache_manager.free_block_list


class TestRadixAttention:
    def test_basic_attention_forward(self):
        """Catches float16 input that float32 weights refuse."""
        hidden_size = 512
        num_heads = 8
        head_dim = hidden_size // num_heads

        attention = RadixAttentionBlock(
            hidden_size=hidden_size, num_heads=num_heads, head_dim=head_dim, max_position_embeddings=256
        )

        batch_size = 2
        seq_len = 10
        x = torch.randn(batch_size, seq_len, hidden_size, dtype=torch.float16)

        output = attention(x)
        assert output.shape == (batch_size, seq_len, hidden_size)
        assert not torch.isnan(output).any()

    def test_attention_with_past_key_value(self):
        """Catches a block without `use_cache`, or one that does not return its cache."""
        hidden_size = 256
        num_heads = 4
        head_dim = hidden_size // num_heads

        attention = RadixAttentionBlock(hidden_size=hidden_size, num_heads=num_heads, head_dim=head_dim)

        batch_size = 1
        seq_len = 5
        x = torch.randn(batch_size, seq_len, hidden_size)

        output1, _, past_kv = attention(x, use_cache=True)
        assert output1.shape == (batch_size, seq_len, hidden_size)

        next_token = torch.randn(batch_size, 1, hidden_size)
        output2, _, _ = attention(next_token, past_key_value=past_kv)

        assert output2.shape == (batch_size, 1, hidden_size)


class TestSamplingKernel:
    def test_temperature_sampling(self):
        """Catches a wrong shape, and a low temperature that flattens instead of sharpening."""
        sampling = SamplingKernel()

        logits = torch.tensor([[10.0, 1.0, 1.0, 1.0]])

        sampled_high_temp = sampling.sample(logits, temperature=2.0)
        assert sampled_high_temp.shape == (1,)

        sampled_low_temp = sampling.sample(logits, temperature=0.1)
        assert sampled_low_temp[0] == 0

    def test_top_p_nucleus_sampling(self):
        """Catches a nucleus with a token that cannot belong to it.

        The first two tokens have 82% of the probability, so 0.8 allows these two only; the guide accepts a third.
        """
        sampling = SamplingKernel()

        logits = torch.tensor([[2.0, 1.5, 1.0, -10.0, -10.0]])

        for _ in range(50):
            sampled = sampling.sample(logits, top_p=0.8)
            assert sampled[0] in [0, 1]

    def test_top_k_sampling(self):
        """Catches a token outside the k most likely."""
        sampling = SamplingKernel()

        logits = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]])

        for _ in range(50):
            sampled = sampling.sample(logits, top_k=2)
            assert sampled[0] in [0, 1]


class TestIntegration:
    def test_full_inference_pipeline(self):
        """Catches parts that do not fit together: attention, then sampling."""
        batch_size = 2
        seq_len = 10
        hidden_size = 256
        num_heads = 4
        head_dim = hidden_size // num_heads

        x = torch.randn(batch_size, seq_len, hidden_size)

        attention = RadixAttentionBlock(hidden_size=hidden_size, num_heads=num_heads, head_dim=head_dim)
        attn_output = attention(x)
        assert attn_output.shape == (batch_size, seq_len, hidden_size)

        logits = torch.randn(batch_size, 1000)  # vocab_size = 1000
        sampling = SamplingKernel()
        sampled_tokens = sampling.sample(logits, temperature=0.7)
        assert sampled_tokens.shape == (batch_size,)

    def test_the_api_that_the_guide_imports_and_never_calls(self):
        """Catches functions that exist in name only: the guide raises NotImplementedError in two of them."""
        query = torch.randn(2, 3, 4, 8)
        key_cache, value_cache = torch.randn(2, 6, 2, 4, 8)
        tables, context_lens = torch.tensor([[0, 2], [1, 4]]), torch.tensor([3, 4])
        assert attention_forward(query, query, query).shape == query.shape
        assert paged_attention_forward(query, key_cache, value_cache, tables, context_lens).shape == query.shape
        expected = key_cache[2].clone()
        copy_blocks(key_cache, value_cache, torch.tensor([[2, 5]]))
        assert torch.equal(key_cache[5], expected)


if __name__ == "__main__":
    pytest.main([__file__])
