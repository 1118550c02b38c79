"""The engine beside nano-vllm: the same weights and requests, in one run on one card.

Three loads, each with its own medians: `batch`, the benchmark of nano-vllm (256 requests, 133,966 tokens); `prefix`, 64
requests on one cached prefix of 2,048 tokens with 128 of their own, 64 tokens each; `single`, one request with 512
tokens in, time per decoded token. Each engine runs in a process of its own, in turn, so that neither has the other's
memory. nano-vllm is not installed by anything here: name the folder of its source. It needs `flash_attn`, `triton`,
`xxhash` and `transformers`. The kernels beside FlashInfer and FlashAttention: `python -m yaie.bench kernels --peers`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from yaie.bench import harness, serve
from yaie.engine.sampling_params import SamplingParams
from yaie.models.loader import load_model
from yaie.options import Parser, existing_folder, whole

MAX_NUM_SEQS, MAX_MODEL_LEN, BUDGET = 256, 4096, 16384  # as in nano-vllm's benchmark, for both engines
TEMPERATURE = 0.6  # as there; nano-vllm has no greedy decoding

# Prompts, the number of tokens of each answer, the temperature -> the tokens of each answer.
Generate = Callable[[list[list[int]], list[int], float], list[list[int]]]


def save_model(folder: Path) -> None:
    """Random weights in the shape of Qwen3-0.6B, as every engine loads them, with a tokenizer of numbers."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    config = serve.SHAPES["qwen3-0.6b"]
    torch.manual_seed(0)
    shape = Qwen3Config(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        tie_word_embeddings=config.tie_word_embeddings,
        eos_token_id=1,
    )
    Qwen3ForCausalLM(shape).to(torch.bfloat16).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({str(number): number for number in range(1000)}, unk_token="0"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="0", eos_token="1").save_pretrained(folder)


def yaie_engine(folder: Path) -> Generate:
    """This engine, without a tokenizer: the text is not part of the race."""
    model, config, _ = load_model(str(folder), torch.bfloat16, "cuda")
    limits = {"max_num_seqs": MAX_NUM_SEQS, "max_num_batched_tokens": BUDGET, "max_model_len": MAX_MODEL_LEN}
    llm = serve.fresh_engine((model, config, None), backend="cuda", **limits)

    def generate(prompts: list[list[int]], lengths: list[int], temperature: float) -> list[list[int]]:
        params = [SamplingParams(temperature=temperature, max_tokens=n, ignore_eos=True) for n in lengths]
        outputs = llm.generate(prompts, params)
        if failed := [output.error for output in outputs if output.error]:
            raise RuntimeError(f"{len(failed)} of {len(outputs)} requests failed, the first with: {failed[0]}")
        return [output.token_ids for output in outputs]

    return generate


def nano_vllm(folder: Path) -> Generate:
    """nano-vllm, whose folder is on the path."""
    import nanovllm

    llm = nanovllm.LLM(
        str(folder),
        enforce_eager=False,
        max_model_len=MAX_MODEL_LEN,
        max_num_seqs=MAX_NUM_SEQS,
        max_num_batched_tokens=BUDGET,
    )
    llm.tokenizer.decode = lambda *arguments, **keywords: ""

    def generate(prompts: list[list[int]], lengths: list[int], temperature: float) -> list[list[int]]:
        params = [nanovllm.SamplingParams(temperature=temperature, max_tokens=n, ignore_eos=True) for n in lengths]
        return [output["token_ids"] for output in llm.generate(prompts, params, use_tqdm=False)]

    for num_requests, length in ((1, 30), (2, 100), (MAX_NUM_SEQS, 60), (17, 200)):  # what it compiles is not timed
        generate([[7] * length for _ in range(num_requests)], [4] * num_requests, TEMPERATURE)
    return generate


ENGINES = {"yaie": yaie_engine, "nano-vllm": nano_vllm}


def seconds(generate: Generate, prompts: list[list[int]], lengths: list[int], temperature: float) -> float:
    """Wall time of a load. RuntimeError unless every request got as many tokens as it asked for."""
    start = time.perf_counter()
    answers = generate(prompts, lengths, temperature)
    elapsed = time.perf_counter() - start
    if [len(answer) for answer in answers] != lengths:
        raise RuntimeError("an engine gave some requests fewer or more tokens than they asked for")
    return elapsed


def batch(generate: Generate, run: int, temperature: float) -> float:
    """Tokens per second. Each run has other tokens in the same lengths, so that nothing is found in a cache."""
    prompts, params = serve.workload(256, 10_007)
    lengths = [each.max_tokens for each in params]
    prompts = [[(token + 7 * run) % 10_007 for token in prompt] for prompt in prompts]
    return sum(lengths) / seconds(generate, prompts, lengths, temperature)


def prefix(generate: Generate, run: int, temperature: float) -> float:
    """Seconds for 64 requests whose first 2,048 tokens were served just before."""
    rng = random.Random(run)
    shared = [rng.randrange(10_000) for _ in range(2048)]
    generate([[*shared, 5]], [2], temperature)
    prompts = [shared + [rng.randrange(10_000) for _ in range(128)] for _ in range(64)]
    return seconds(generate, prompts, [64] * 64, temperature)


def single(generate: Generate, run: int, temperature: float) -> float:
    """Milliseconds per decoded token of one request with 512 tokens in and 256 out."""
    rng = random.Random(run)
    first, whole = ([[rng.randrange(10_000) for _ in range(512)]] for _ in range(2))
    prefill = seconds(generate, first, [1], temperature)
    return (seconds(generate, whole, [256], temperature) - prefill) / 255 * 1e3


# name: (load, unit, whether more is better)
LOADS = {"batch": (batch, "tokens/s", True), "prefix": (prefix, "s", False), "single": (single, "ms/token", False)}


def run_engine(name: str, folder: Path, loads: list[str], repeats: int) -> None:
    """Print one line of JSON for each measurement."""
    generate = ENGINES[name](folder)
    for load in loads:
        for temperature in (TEMPERATURE, 0.0) if name == "yaie" else (TEMPERATURE,):
            LOADS[load][0](generate, 1000, temperature)  # a warm-up
            for run in range(repeats):
                value = LOADS[load][0](generate, run + (100 if temperature else 0), temperature)
                print(json.dumps({"load": load, "temperature": temperature, "value": value}), flush=True)


def main(arguments: list[str]) -> int:
    """Run the race; see `--help`."""
    parser = Parser(prog="python -m yaie.bench peers", description=__doc__)
    parser.add_argument("--nano-vllm", type=existing_folder, help="its source (default: it is left out)")
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=[*LOADS], help="default: all")
    parser.add_argument("--repeats", type=whole, default=3, help="of each load (default: %(default)s)")
    parser.add_argument("--model", type=existing_folder, help="weights (default: random ones, made for the run)")
    parser.add_argument("--engine", choices=ENGINES, help="only this one, in this process (for its own use)")
    parser.add_argument("--save", action="store_true", help="record the result under yaie/bench/results/")
    options = parser.parse_args(arguments)
    if options.engine:
        parser.refuse(options, "has no effect beside --engine", "nano_vllm", "save")
        if options.model is None:
            parser.error("argument --engine: needs --model")
        run_engine(options.engine, options.model, options.loads, options.repeats)
        return 0
    if not torch.cuda.is_available():
        print("The race needs a GPU, and there is none here.", file=sys.stderr)
        return 1
    facts = harness.environment("peers", arguments, device="cuda")
    facts["times"] = (
        f"wall time; medians of {options.repeats} runs after a warm-up, the smallest and largest in brackets"
    )
    harness.print_header(facts)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.model or Path(temporary)
        if options.model is None:
            save_model(folder)
        results = {name: measure(name, folder, options) for name in ENGINES if name == "yaie" or options.nano_vllm}
    print_race(results)
    if options.save:
        print(f"Recorded in {harness.save_results('peers', facts, results)}")
    return 0 if all(results.values()) else 1


def measure(name: str, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The measurements of an engine in a process of its own; none, and its last words, if it fails."""
    command = [sys.executable, "-m", "yaie.bench", "peers", "--engine", name, "--model", str(folder)]
    command += ["--loads", *options.loads, "--repeats", str(options.repeats)]
    path = os.pathsep.join(filter(None, (str(options.nano_vllm or ""), *sys.path)))
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        print(f"{name} failed: " + " | ".join(done.stderr.strip().splitlines()[-5:]), file=sys.stderr)
        return []
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def print_race(results: dict[str, list[dict[str, Any]]]) -> None:
    """A row for each load and temperature. The ratio is speed over nano-vllm's, which always has a temperature."""
    rows = []
    for load, (_, unit, more_is_better) in LOADS.items():
        peer = [row["value"] for row in results.get("nano-vllm", []) if row["load"] == load]
        for temperature in (TEMPERATURE, 0.0):
            found = (load, temperature)
            own = [row["value"] for row in results["yaie"] if (row["load"], row["temperature"]) == found]
            if not own:
                continue
            ratio = "-"
            if peer:
                ratio = f"{(median(own) / median(peer)) ** (1 if more_is_better else -1):.2f}x"
            rows.append((f"{load}, temperature {temperature:g}", unit, spread(own), spread(peer), ratio))
    harness.print_table("Shape of Qwen3-0.6B", ("load", "unit", "yaie", "nano-vllm", "speed"), rows)


def spread(values: list[float]) -> str:
    """Median, smallest and largest."""
    if not values:
        return "-"
    middle, least, most = (f"{n:,.0f}" if n >= 1000 else f"{n:.4g}" for n in (median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"
