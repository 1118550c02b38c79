"""The engine from outside, on a model whose right answers are known: results, streaming, stops, errors, faults."""

import torch

from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)


def engine(fake, **options) -> LLM:
    return LLM(
        fake,
        **{"block_size": 4, "num_blocks": 64, "max_num_seqs": 8, "max_num_batched_tokens": 32, **options},
    )


def prompt(length: int, seed: int) -> list[int]:
    return torch.randint(1, 61, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def run(llm: LLM) -> dict[str, object]:
    """Step to the end with all accounts checked after every step; outputs by request."""
    outputs = {}
    while llm.has_unfinished_requests:
        for chunk in llm.step():
            if chunk.output:
                assert chunk.request_id not in outputs, "a request ended twice"
                outputs[chunk.request_id] = chunk.output
        llm.check_integrity()
    return outputs


def test_generate_answers_in_the_order_of_the_prompts(fake):
    """Would catch outputs in the order in which requests end."""
    llm = engine(fake)
    prompts = [prompt(n, seed=n) for n in (30, 3, 17, 1, 8)]
    many = [SamplingParams(temperature=0, max_tokens=n, ignore_eos=True) for n in (1, 9, 4, 16, 2)]
    outputs = llm.generate(prompts, many)
    for tokens, params, output in zip(prompts, many, outputs, strict=True):
        assert output.prompt_token_ids == tokens
        assert output.token_ids == fake[0].greedy(tokens, params.max_tokens)
        assert output.text == fake[2].decode(output.token_ids)
        assert output.finish_reason == "length"
    llm.check_integrity()
