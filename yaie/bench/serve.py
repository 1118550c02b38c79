"""The engine under the load of nano-vllm's benchmark: many requests at once, prompts and answers of many lengths.

256 requests that arrive together, with prompts of 100 to 1,024 tokens and answers of 100 to 1,024 tokens, drawn with
the seed that nano-vllm uses: 133,966 tokens are generated in all. The weights are random, in the shape of a model that
many people run. Time is wall time from the first request to the last token, after a warm-up that compiles kernels and
captures CUDA graphs. Tokens are the likeliest ones unless --temperature says otherwise.

On a GPU the time is compared with a bound: that of reading what decoding must read (`least_bytes`), and nothing else,
as fast as the card reads.
"""

from __future__ import annotations

import gc
import random
import time
from functools import partial
from typing import Any

import torch

from yaie.bench import card, harness
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels.ops import BACKENDS
from yaie.models.config import ModelConfig
from yaie.models.cuda_graph import DecodeGraphs, bucket_sizes
from yaie.models.llama import Llama
from yaie.models.loader import TINY, load_model
from yaie.options import Parser, amount, whole
from yaie.parallel.group import ALONE, Group

SHAPES = {
    "qwen3-0.6b": ModelConfig(
        vocab_size=151936,
        hidden_size=1024,
        intermediate_size=3072,
        num_layers=28,
        num_heads=16,
        num_kv_heads=8,
        head_dim=128,
        max_position_embeddings=4096,  # as far as the benchmark goes; the checkpoint has 40,960
        rope_theta=1e6,
        tie_word_embeddings=True,
        qk_norm=True,
        architecture="Qwen3ForCausalLM",
    ),
    "llama-3.2-1b": ModelConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_layers=16,
        num_heads=32,
        num_kv_heads=8,
        head_dim=64,
        max_position_embeddings=4096,  # as above; the checkpoint has 131,072
        rope_theta=5e5,
        tie_word_embeddings=True,
    ),
    "llama-3-8b": ModelConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_layers=32,
        num_heads=32,
        num_kv_heads=8,
        head_dim=128,
        max_position_embeddings=8192,
        rope_theta=5e5,
    ),
    "llama-3-70b": ModelConfig(
        vocab_size=128256,
        hidden_size=8192,
        intermediate_size=28672,
        num_layers=80,
        num_heads=64,
        num_kv_heads=8,
        head_dim=128,
        max_position_embeddings=8192,
        rope_theta=5e5,
    ),
}
SHORTEST = 100  # tokens of a prompt, and of an answer

# What a variant changes in the engine.
VARIANTS: dict[str, dict[str, Any]] = {
    "engine": {},
    "no-overlap": {"overlap": False},
    "no-graphs": {"graphs": False},
    "torch": {"backend": "torch"},
}


def workload(
    num_requests: int, vocab_size: int, temperature: float = 0.0, longest: int = 1024
) -> tuple[list[list[int]], list[SamplingParams]]:
    """Prompts, and how much is generated for each: the numbers of nano-vllm's `bench.py` (seed 0)."""
    rng = random.Random(0)
    prompts = [[rng.randint(0, 10000) for _ in range(rng.randint(SHORTEST, longest))] for _ in range(num_requests)]
    params = [
        SamplingParams(temperature=temperature, max_tokens=rng.randint(SHORTEST, longest), ignore_eos=True)
        for _ in range(num_requests)
    ]
    return [[token % vocab_size for token in prompt] for prompt in prompts], params


def config_of(shape: str) -> ModelConfig:
    """What a model of this shape is, without its weights."""
    return ModelConfig.from_folder(TINY) if shape == "tiny" else SHAPES[shape]


def make_model(shape: str, dtype: torch.dtype, device: str | torch.device, group: Group = ALONE) -> tuple:
    """What `LLM` takes: the shipped model, or random weights in a shape of `SHAPES`; of a rank its part."""
    if shape == "tiny":
        return load_model("tiny", dtype, device, group)
    config = SHAPES[shape]
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # a large model would not fit in float32
    try:
        with torch.device(device):
            return Llama(config, group), config, None
    finally:
        torch.set_default_dtype(usual)


def fresh_engine(model: tuple, **options: Any) -> LLM:
    """An engine that has answered a prompt and decoded at every size: what is compiled or captured once is not timed.

    The caller holds no other engine: the pool takes a part of the memory that is free.
    """
    gc.collect()  # the pages of the engine before this one
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    llm = LLM(model, **options)
    most, params = llm.options.max_num_seqs, SamplingParams(temperature=0, max_tokens=3, ignore_eos=True)
    for size in bucket_sizes(most) if isinstance(llm.runner.graphs, DecodeGraphs) else [min(2, most)]:
        llm.generate([[index % 100, 1] for index in range(size)], params)
    return llm


def least_bytes(model: tuple, prompt_lens: list[int], answer_lens: list[int]) -> int:
    """What decoding must read: every weight once a step, and the keys and values of a context for each token after the
    first, which comes from the prompt. So many steps as the longest answer has tokens."""
    network, config, _ = model
    weights = sum(weight.nbytes for weight in network.parameters())
    if not config.tie_word_embeddings:
        weights -= network.embed_tokens.weight.nbytes  # a row for each token, which is next to nothing
    of_token = 2 * config.num_layers * config.num_kv_heads * config.head_dim * network.dtype.itemsize
    read = sum((n - 1) * length + n * (n - 1) // 2 for length, n in zip(prompt_lens, answer_lens, strict=True))
    return max(answer_lens) * weights + read * of_token


def run(model: tuple, variant: str, backend: str, prompts: list, params: list) -> dict[str, Any]:
    """Serve the load once with a fresh engine; `variant` is a key of `VARIANTS`."""
    options = {"backend": backend} | VARIANTS[variant]
    llm = fresh_engine(
        model,
        max_num_seqs=min(len(prompts), 256),
        max_num_batched_tokens=16384,
        max_model_len=min(4096, model[1].max_position_embeddings),
        **options,
    )
    before = llm.stats()
    start = time.perf_counter()
    outputs = llm.generate(prompts, params)
    seconds = time.perf_counter() - start
    if failed := [output.error for output in outputs if output.error]:
        raise harness.Failed(f"{len(failed)} of {len(outputs)} requests failed, the first with: {failed[0]}")
    generated = sum(len(output.token_ids) for output in outputs)
    return {
        "backend": options["backend"],
        "cuda_graphs": isinstance(llm.runner.graphs, DecodeGraphs),
        "generated_tokens": generated,
        "seconds": seconds,
        "tokens_per_second": generated / seconds,
        "steps": llm.stats()["steps"] - before["steps"],
        "preemptions": llm.stats()["preemptions"] - before["preemptions"],
    }


def main(arguments: list[str]) -> None:
    """Run the benchmark; see `--help`."""
    parser = Parser(prog="python -m yaie.bench serve", description=__doc__)
    parser.add_argument("--shape", default="qwen3-0.6b", choices=[*SHAPES, "tiny"], help="default: %(default)s")
    parser.add_argument("--requests", type=whole, default=256, help="default: %(default)s")
    at_least = partial(whole, least=SHORTEST)
    parser.add_argument("--longest", type=at_least, default=1024, help="prompt and answer (default: %(default)s)")
    parser.add_argument("--backend", default="auto", choices=["auto", *BACKENDS], help="default: %(default)s")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], help="default: bfloat16 on a GPU, else float32"
    )
    temperature = partial(amount, least=0)
    parser.add_argument("--temperature", type=temperature, default=0.0, help="default: %(default)s, greedy")
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=["engine"],
        help="engine: as users have it; no-overlap: a step is planned when the one before it is done; no-graphs: every "
        "kernel of a decode step launched by itself; torch: PyTorch's operations instead of the kernels (default: "
        "engine)",
    )
    parser.add_argument("--save", action="store_true", help="record the result under yaie/bench/results/")
    options = parser.parse_args(arguments)
    if all("backend" in VARIANTS[name] for name in options.variants):
        parser.refuse(options, f"has no effect on --variants {' '.join(options.variants)}", "backend")

    device = "cuda" if torch.cuda.is_available() and options.backend != "emulator" else "cpu"
    dtype = getattr(torch, options.dtype or ("bfloat16" if device == "cuda" else "float32"))
    facts = harness.environment("serve", arguments, device=device)
    facts["times"] = "wall time of one run, after a warm-up"
    harness.print_header(facts)
    model = make_model(options.shape, dtype, device)
    prompts, params = workload(options.requests, model[1].vocab_size, options.temperature, options.longest)
    runs = {}
    for name in options.variants:
        runs[name] = run(model, name, options.backend, prompts, params)
        print(f"{name}: {runs[name]['tokens_per_second']:,.1f} tokens per second", flush=True)
    if device == "cuda":
        bound = least_bytes(model, [*map(len, prompts)], [p.max_tokens for p in params]) / card.ceilings()["read"]
        print(f"bound by bytes: {bound:.2f} s", flush=True)
        for each in runs.values():
            each["share_of_bound"] = bound / each["seconds"]
    results = {
        "shape": options.shape,
        "dtype": str(dtype),
        "requests": len(prompts),
        "prompt_tokens": sum(map(len, prompts)),
        "runs": runs,
    }
    first = next(iter(runs.values()))
    harness.print_table(
        f"{results['requests']} requests, {results['prompt_tokens']:,} prompt tokens, {options.shape}, {dtype}",
        ("", *first, "speed"),
        [
            (name, *map(_short, row.values()), f"{row['tokens_per_second'] / first['tokens_per_second']:.2f}")
            for name, row in runs.items()
        ],
    )
    if options.save:
        print(f"Recorded in {harness.save_results('serve', facts, results)}")


def _short(value: Any) -> str:
    return f"{value:,.{1 if value >= 1 else 2}f}" if isinstance(value, float) else str(value)
