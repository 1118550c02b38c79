"""The spine: whatever the engine does to be fast, the tokens stay the same and so do the logits, up to rounding.

The plain answer is `Llama.forward_naive`: all tokens again for each new one, no cache. Against it stand a cache in one
piece, and the engine with and without prefix reuse, with shared pages read once or by each request, one request at a
time and batched, prompts whole and in chunks,
pages in plenty and so few that requests are preempted and cached prefixes evicted, pages of 1 and of 16 tokens, in one
process and split over two.

Weights and cache are float64 here. In float32 two right ways of computing a logit differ by what a sum loses in
another order, which depends on the CPU, and a tolerance that allows for it also allows for small bugs. In float64 that
part is far below the last digit of the logits (which are float32), so a difference of more than 1e-6 of the largest
logit is a bug. The float32 that users run, on torch and on the kernels of the other backend that this machine has, is
held to the float64 answer in two passes a model: the same tokens, and logits within 1e-4 of the largest (some hundred
roundings of 6e-8, made larger by the layers after them).
"""

import functools
import itertools
from collections import defaultdict

import pytest
import torch

from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels import paged
from yaie.kernels.ops import KernelOperations, TorchOperations, paged_attention
from yaie.models.config import ModelConfig
from yaie.models.cuda_graph import DecodeGraphs, eager
from yaie.models.llama import Llama
from yaie.models.loader import load_model

# Of the largest logit of the prompt's answer.
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4}
MAX_TOKENS = 20
SMALL = {
    "vocab_size": 120,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_layers": 2,
    "num_heads": 6,
    "num_kv_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
}
CONFIGS = {
    "random llama": ModelConfig(**SMALL),
    "random qwen3": ModelConfig(**SMALL, qk_norm=True, tie_word_embeddings=True, architecture="Qwen3ForCausalLM"),
}


@functools.cache
def model_of(name: str, dtype: torch.dtype = torch.float64, device: str = "cpu") -> tuple:
    if name == "tiny":
        return load_model("tiny", dtype, device)
    torch.manual_seed(len(name))
    return Llama(CONFIGS[name]).to(device, dtype), CONFIGS[name], None


@functools.cache
def prompts_of(name: str) -> list[list[int]]:
    """Prompts of 1 to 60 tokens; two families share beginnings of 40, and two prompts are the same."""
    if name == "tiny":
        tokenizer = model_of(name)[2]
        system = "alice=17;bob=42;carol=93;dave=20;erin=64;frank=31;grace=75;heidi=58"
        questions = ["bob?", "erin?", "bob?", "heidi?"]
        chats = [
            [{"role": "system", "content": system}, {"role": "user", "content": question}] for question in questions
        ]
        chats += [[{"role": "user", "content": text}] for text in ("123+456=", "reverse: a b c d e f")]
        return [tokenizer.apply_chat_template(chat) for chat in chats]
    generator = torch.Generator().manual_seed(3)
    draw = lambda n: torch.randint(0, 120, (n,), generator=generator).tolist()  # noqa: E731
    shared = draw(40)
    same = shared + draw(9)
    return [same, shared + draw(20), draw(1), list(same), shared[:24] + draw(13), draw(33)]


@functools.cache
def plain(name: str) -> tuple[list[list[int]], list[torch.Tensor]]:
    """Tokens and logits of each prompt, without any cache, in float64."""
    model = model_of(name)[0]
    tokens, logits = [], []
    for prompt in prompts_of(name):
        sequence, rows = list(prompt), []
        for _ in range(MAX_TOKENS):
            rows.append(model.forward_naive(torch.tensor(sequence))[-1])
            sequence.append(int(rows[-1].argmax()))
        tokens.append(sequence[len(prompt) :])
        logits.append(torch.stack(rows))
        best, second = logits[-1].topk(2).values.unbind(dim=-1)
        assert (best - second).min() > 2 * allowed(logits[-1], torch.float32), (
            "too close: another prompt is needed, tokens could rightly differ"
        )
    return tokens, logits


def allowed(logits: torch.Tensor, dtype: torch.dtype) -> float:
    return TOLERANCES[dtype] * logits.abs().max().item()


def assert_same(
    name: str, tokens: list[list[int]], logits: list[torch.Tensor], dtype: torch.dtype = torch.float64
) -> None:
    for index, (expected_tokens, expected) in enumerate(zip(*plain(name), strict=True)):
        assert tokens[index] == expected_tokens, f"prompt {index}"
        assert (logits[index] - expected).abs().max() < allowed(expected, dtype), f"prompt {index}"


def keep_logits(llm: LLM) -> dict[str, list[torch.Tensor]]:
    """The logits from which each request's tokens are chosen, in order."""
    kept = defaultdict(list)
    original = llm.runner.next_tokens

    def next_tokens(requests, logits, context_lens):
        for request, row in zip(requests, logits, strict=True):
            kept[request.request_id].append(row.cpu().clone())
        return original(requests, logits, context_lens)

    llm.runner.next_tokens = next_tokens
    return kept


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", ["tiny", *CONFIGS])
def test_contiguous_cache(name, dtype):
    """Would catch keys rotated to positions that ignore the past, or a mask without the offset of the past."""
    model = model_of(name, dtype)[0]
    for chunk in (1000, 7):
        tokens, logits = [], []
        for prompt in prompts_of(name):
            past, rows, generated = None, [], []
            for start in range(0, len(prompt), chunk):
                out, past = model.forward_contiguous(torch.tensor(prompt[start : start + chunk]), past)
            while True:
                rows.append(out[-1])
                generated.append(int(out[-1].argmax()))
                if len(generated) == MAX_TOKENS:
                    break
                out, past = model.forward_contiguous(torch.tensor(generated[-1:]), past)
            tokens.append(generated)
            logits.append(torch.stack(rows))
        assert_same(name, tokens, logits, dtype)


def answers(llm: LLM, prompts: list[list[int]], together: bool) -> tuple[list[list[int]], list[torch.Tensor]]:
    """Tokens and logits of each prompt from an engine that gets all prompts together, or one after the other."""
    kept = keep_logits(llm)
    params = SamplingParams(temperature=0, max_tokens=MAX_TOKENS, ignore_eos=True)
    outputs, ids = {}, []
    for prompt in prompts:
        ids.append(llm.add_request(prompt, params))
        while llm.has_unfinished_requests and (not together or prompt is prompts[-1]):
            outputs |= {chunk.request_id: chunk.output for chunk in llm.step() if chunk.output}
            llm.check_integrity()
    return [outputs[id].token_ids for id in ids], [torch.stack(kept[id]) for id in ids]


@pytest.mark.parametrize(
    ("name", "reuse", "batched", "chunked", "scarce", "block_size"),
    list(itertools.product(["tiny", *CONFIGS], *[[False, True]] * 4, [1, 16])),
)
def test_engine(name, reuse, batched, chunked, scarce, block_size, monkeypatch):
    """Would catch any page, position, length or lock that is wrong in one of these ways of running: other tokens."""
    prompts = prompts_of(name)
    longest = max(map(len, prompts)) + MAX_TOKENS
    # Overlapped or not: each half of the cases of a model, and each case with one of the models and not with another.
    overlap = (reuse + batched + chunked + scarce + (block_size == 1) + (name == "tiny")) % 2 == 1
    # So are shared pages read once or not.
    once = (chunked + scarce + (block_size == 1) + (name != "tiny")) % 2 == 0
    monkeypatch.setattr(paged, "LEAST_SAVED_NUMBERS", 1)
    budget = (20 if block_size == 16 else 11) if chunked else 1000
    llm = LLM(
        model_of(name),
        backend=TorchOperations(rungs={"shared_pages": 2 if once else 1}),
        block_size=block_size,
        # Scarce: the longest request fits, and not much more.
        num_blocks=-(-longest // block_size) + (1 if block_size == 16 else 9) if scarce else 1000,
        max_num_batched_tokens=budget,
        max_num_seqs=6 if batched else 1,
        prefix_cache=reuse,
        overlap=overlap,
        trace=True,
    )
    ahead, shared, launch, make_batch = [], [], llm.runner.launch, llm.runner.make_batch
    llm.runner.launch = lambda scheduled, before: ahead.append(before is not None) or launch(scheduled, before)
    llm.runner.make_batch = lambda scheduled: shared.append(make_batch(scheduled)) or shared[-1]
    assert_same(name, *answers(llm, prompts, batched))
    assert any(ahead) == overlap
    if not scarce:  # there two that share may never run together
        assert any(batch.shared for batch in shared) == (once and reuse and batched)
    # What this case is about really happened.
    stats = llm.stats()
    work = [list(record.work.values()) for record in llm.trace]
    num_prefills = sum(kind == "prefill" for step in work for kind, _ in step)
    assert (num_prefills > len(prompts) + stats["preemptions"]) == chunked
    assert (max(sum(n > 0 for _, n in step) for step in work) > 1) == batched
    assert (stats["preemptions"] > 0) == (batched and scarce)
    assert (stats["evicted_pages"] > 0) == (reuse and scarce)
    if not reuse:
        assert stats["cached_tokens"] == 0
    elif not scarce:
        assert stats["cached_tokens"] >= 2 * 40 // block_size * block_size
    assert stats["pages"]["private"] == stats["pages"]["protected"] == 0


@pytest.mark.parametrize(("chunked", "scarce", "block_size"), [(True, True, 16), (False, False, 1)])
@pytest.mark.parametrize("backend", ["torch", "cuda" if torch.cuda.is_available() else "emulator"])
@pytest.mark.parametrize("name", ["tiny", *CONFIGS])
def test_engine_in_float32(name, backend, chunked, scarce, block_size):
    """Would catch a kernel that computes something else than torch does, and what float64 hides: sums that lose too
    much.
    """
    prompts = prompts_of(name)
    longest = max(map(len, prompts)) + MAX_TOKENS
    llm = LLM(
        model_of(name, torch.float32, "cuda" if backend == "cuda" else "cpu"),
        backend=backend,
        block_size=block_size,
        num_blocks=-(-longest // block_size) + 1 if scarce else 700,
        max_num_batched_tokens=20 if chunked else 1000,
        max_num_seqs=6,
    )
    if padded := backend == "emulator" and not scarce:  # decode steps are padded to buckets, as for CUDA graphs
        llm.runner.graphs = DecodeGraphs(llm.model, llm.kv, llm.runner.operations, 8, llm.max_model_len, capture=eager)
    assert_same(name, *answers(llm, prompts, together=True), torch.float32)
    assert not padded or 8 in llm.runner.graphs.replays  # 6 sequences, 2 rows of padding
    assert (llm.stats()["preemptions"] > 0) == scarce
    assert llm.runner.operations.name == backend


def test_shared_pages_on_kernels(monkeypatch):
    """Would catch a graph of shared pages that replays those of an earlier step, when requests come and go; and a group
    whose pages another request has got. (Kernels read pages once in 16-bit types only.)"""
    monkeypatch.setattr(paged_attention, "LEAST_SAVED_BYTES", 1)
    backend = "cuda" if torch.cuda.is_available() else "emulator"
    prompts, results = prompts_of("random llama"), []
    for rung in (1, 2):
        operations = KernelOperations(backend, rungs={"shared_pages": rung})
        model = model_of("random llama", torch.float16, "cuda" if backend == "cuda" else "cpu")
        llm = LLM(model, backend=operations, block_size=4, num_blocks=200, max_num_seqs=4)
        if backend == "emulator":
            limits = 8, llm.max_model_len
            llm.runner.graphs = DecodeGraphs(llm.model, llm.kv, operations, *limits, capture=eager)
        results.append(answers(llm, prompts, together=True))
        assert (llm.runner.graphs.with_shared_pages is not None) == (rung == 2)
    (tokens, logits), (shared_tokens, shared_logits) = results
    assert shared_tokens == tokens
    for a, b in zip(logits, shared_logits, strict=True):
        assert (a - b).abs().max() < 0.01 * a.abs().max()


def test_draws_are_the_same_on_kernels():
    """Would catch a sampler that keeps other tokens, uses other random numbers, or mixes up the rows."""
    backend = "cuda" if torch.cuda.is_available() else "emulator"
    params = [
        SamplingParams(temperature=1.0, seed=1, max_tokens=12, ignore_eos=True),
        SamplingParams(temperature=1.5, top_p=0.9, top_k=40, seed=2, max_tokens=12, ignore_eos=True),
        SamplingParams(temperature=0, max_tokens=12, ignore_eos=True),
        SamplingParams(temperature=2.0, min_p=0.05, repetition_penalty=1.2, max_tokens=12, ignore_eos=True),
    ]
    tokens = []
    for chosen in ("torch", backend):
        model = model_of("random llama", torch.float32, "cuda" if chosen == "cuda" else "cpu")
        llm = LLM(model, backend=chosen, num_blocks=64)
        tokens.append([output.token_ids for output in llm.generate(prompts_of("random llama")[:4], params)])
        assert llm.last_error is None
    assert tokens[0] == tokens[1]
    assert len(set(map(tuple, tokens[0]))) == 4


def test_split_over_ranks(monkeypatch):
    """Would catch a rank with the wrong part of a weight, of the vocabulary or of the pool, one that computes another
    batch than rank 0 or other tokens than those that rank 0's device has, and draws that depend on how many ranks there
    are. Steps overlap; requests end by a string or are aborted while the next step is in flight.
    """
    prompts = prompts_of("tiny")
    longest = max(map(len, prompts)) + MAX_TOKENS
    options = {"block_size": 16, "num_blocks": -(-longest // 16) + 1, "max_num_batched_tokens": 20, "max_num_seqs": 6}
    split = LLM("tiny", dtype=torch.float64, device="cpu", tensor_parallel=2, overlap=True, **options)
    whole, launch, ahead = LLM(model_of("tiny")), split.runner.launch, []
    split.runner.launch = lambda scheduled, before: ahead.append(before is not None) or launch(scheduled, before)
    assert split.kv.num_heads * 2 == whole.kv.num_heads
    # Rank 0 alone would copy a page.
    monkeypatch.setattr(type(split.kv), "copy_on_write", lambda *_: pytest.fail("a page was copied"))
    assert_same("tiny", *answers(split, prompts, together=True))
    assert split.stats()["preemptions"] > 0
    assert split.stats()["cached_tokens"] > 0
    params = SamplingParams(temperature=1.5, top_p=0.95, seed=3, max_tokens=MAX_TOKENS, ignore_eos=True)
    drawn = [[output.token_ids for output in llm.generate(prompts[4:], params)] for llm in (split, whole)]
    assert drawn[0] == drawn[1]
    assert any(ahead)
    assert not all(ahead)
    tokens = plain("tiny")[0][4]
    text = whole.tokenizer.decode(tokens[:7])
    params = SamplingParams(temperature=0, max_tokens=MAX_TOKENS, ignore_eos=True, stop=text[-2:])
    stopped, aborted = (split.add_request(prompts[4], params) for _ in range(2))
    while split._requests[aborted].num_output_tokens < 3:
        split.step()
    assert split.abort(aborted).token_ids == tokens[:3]
    (output,) = (chunk.output for _ in range(9) for chunk in split.step() if chunk.output)
    assert (output.request_id, output.token_ids, output.text) == (stopped, tokens[:7], text[:-2])
    split.check_integrity()
    split.close()
