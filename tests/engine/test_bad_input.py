"""What strangers hand to the engine: it is right, or refused by name before anything has changed.

The kinds: other types, NaN and infinities, numbers too large for a kernel, negative ones, empty ones, nested ones,
arrays of another shape or dtype, None, bytes, bools for numbers, numbers as text, names of nothing, another's names.
Each public function of the engine has rows here. `Options` and `SamplingParams` check themselves; a prompt is checked
when it is queued, for its request alone; after each refusal the engine serves as before and every account is the same.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch

from yaie import LLM as front_door
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.models.shard import affordable_blocks

NAN, INF = float("nan"), float("inf")
GREEDY = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)


class Unprintable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


# Parameters

HUGE = 10**400
BAD_PARAMETERS = {
    "temperature": [
        -1,
        NAN,
        INF,
        -INF,
        HUGE,
        10**5000,
        1e-40,
        1e-31,
        1e31,
        True,
        "0.5",
        None,
        [1],
        1j,
        torch.ones(1),
        Fraction(HUGE),
    ],
    "top_k": [0, -2, 2**31, 2**63, HUGE, 1.5, 5.0, NAN, True, "5", None, [5], np.array([5])],
    "top_p": [0, -0.1, 1.0000001, 2, NAN, INF, HUGE, True, "1", None],
    "min_p": [-0.1, 1.1, NAN, -INF, HUGE, True, "0", None],
    "repetition_penalty": [0, -1, 1e-39, 1e-40, 0.0099, 101, 1e31, NAN, INF, HUGE, True, "1", None],
    "presence_penalty": [2.1, -2.1, NAN, INF, HUGE, True, "0", None],
    "seed": [-1, 2**63, 2**64, HUGE, 1.0, NAN, True, "1", [1]],
    "max_tokens": [0, -1, 8.0, NAN, INF, True, "8", None, [8]],
    "stop": [
        "",
        [""],
        ["a", ""],
        [None],
        ["a", None],
        3,
        [3],
        b"a",
        [b"a"],
        {"a": 1},
        "\ud800",
        ["a\udfff"],
        True,
        "a" * 10**6,
        ["a"] * 10**5,
    ],
    "stop_token_ids": [5, [-1], [1.0], ["5"], "5", [None], [True], b"5", {5: 1}, Unprintable()],
    "ignore_eos": ["no", 1, 0, None],
    "logprobs": [-1, 1.0, NAN, True, "1", [1]],
}


@pytest.mark.parametrize("name", BAD_PARAMETERS)
def test_bad_parameters_are_refused_by_their_own_name(name):
    """Would catch a value that is believed and fails later, inside a batch, for everybody."""
    assert BAD_PARAMETERS.keys() == SamplingParams.__dataclass_fields__.keys()
    for value in BAD_PARAMETERS[name]:
        with pytest.raises(ValueError, match=f"^SamplingParams: {name} must be .*, got ") as refused:
            SamplingParams(**{name: value})
        assert len(str(refused.value)) < 250


RIGHT_PARAMETERS = [
    ({"temperature": np.float32(0.5)}, 0.5),
    ({"temperature": Fraction(1, 2)}, 0.5),
    ({"temperature": np.int64(1)}, 1.0),
    ({"top_p": np.float64(0.25)}, 0.25),
    ({"top_k": np.int32(7)}, 7),
    ({"max_tokens": 10**30}, 10**30),
    ({"seed": np.uint64(5)}, 5),
    ({"stop": None}, ()),
    ({"stop": "ab"}, ("ab",)),
    ({"stop": (stop for stop in "ab")}, ("a", "b")),
    ({"stop_token_ids": None}, ()),
    ({"stop_token_ids": np.array([3, 4])}, (3, 4)),
    ({"logprobs": np.int64(2)}, 2),
]


@pytest.mark.parametrize(("given", "expected"), RIGHT_PARAMETERS)
def test_numbers_of_other_libraries_become_pythons_own(given, expected):
    """Would catch numpy's numbers refused, or kept, so that two equal parameters differ further on."""
    value = getattr(SamplingParams(**given), next(iter(given)))
    assert value == expected
    assert type(value) is type(expected)


EDGES = [
    {"temperature": 1e-30}, {"temperature": 1e30}, {"top_k": 2**31 - 1}, {"top_k": 1}, {"top_p": 5e-324},
    {"top_p": 1}, {"min_p": 1}, {"min_p": 5e-324}, {"repetition_penalty": 0.01}, {"repetition_penalty": 100},
    {"presence_penalty": 2}, {"presence_penalty": -2}, {"seed": 2**63 - 1}, {"max_tokens": 10**400},
    {"logprobs": 10**9}, {"stop_token_ids": [60]},
    {"temperature": 1e-30, "repetition_penalty": 0.01, "min_p": 1, "top_p": 5e-324},
    {"temperature": 1e30, "repetition_penalty": 100, "min_p": 1, "top_k": 1},
]  # fmt: skip


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("temperature", [0, 0.8])
def test_the_last_value_that_is_taken_works_beside_others(fake, edge, temperature):
    """Would catch limits that let something through: numbers that overflow in a batch end their neighbours."""
    neighbour = SamplingParams(temperature=temperature, seed=1, max_tokens=6, ignore_eos=True)
    edge = SamplingParams(**{"max_tokens": 6, "seed": 2, "ignore_eos": True, **edge})
    alone = engine(fake).generate([1, 2, 3], neighbour)[0].token_ids
    outputs = engine(fake).generate([[1, 2, 3], [4, 5], [1, 2, 3, 4]], [neighbour, edge, neighbour])
    assert [output.error for output in outputs] == [None] * 3
    assert outputs[0].token_ids == alone
    assert all(0 <= token < 61 for token in outputs[1].token_ids)


@pytest.mark.parametrize("token", [-1, 61])
def test_a_draw_of_no_token_ends_its_own_request(fake, token, monkeypatch):
    """Would catch a token that does not exist, from NaN in a row, that goes into the next step for everybody."""
    llm = engine(fake)
    choose = llm.runner.operations.choose

    def broken(*arguments):
        tokens = choose(*arguments)
        tokens[1] = token
        return tokens

    params = SamplingParams(temperature=1, seed=1, max_tokens=5, ignore_eos=True)
    right = [engine(fake).generate(tokens, params)[0].token_ids for tokens in ([1, 2], [5, 6])]
    with monkeypatch.context() as broken_once:
        broken_once.setattr(llm.runner.operations, "choose", broken)
        stream = llm.stream([[1, 2], [3, 4], [5, 6]], params)
        first = next(stream)
    outputs = {chunk.index: chunk.output for chunk in [first, *stream] if chunk.output}
    assert "no token to choose" in outputs[1].error
    assert [outputs[0].token_ids, outputs[2].token_ids] == right


def test_text_that_cannot_be_decoded_ends_its_own_request(fake, monkeypatch):
    """Would catch a decoder's error that ends everyone, as one in the bookkeeping does."""
    model, _, tokenizer = fake
    detokenizer = tokenizer.detokenizer
    others = [engine(fake).generate(tokens, GREEDY)[0].token_ids for tokens in ([1, 2], [5, 6])]
    bad = model.greedy([3, 4], 2)[1]
    assert all(bad not in tokens for tokens in others)

    def failing():
        one = detokenizer()
        add = one.add
        one.add = lambda token: add(token) if token != bad else [][0]
        return one

    monkeypatch.setattr(tokenizer, "detokenizer", failing)
    llm = engine(fake)
    outputs = llm.generate([[1, 2], [3, 4], [5, 6]], GREEDY)
    assert "IndexError" in outputs[1].error
    assert [outputs[0].token_ids, outputs[2].token_ids] == others
    llm.check_integrity()


# Prompts


def engine(fake, **options) -> LLM:
    return LLM(fake, **{"block_size": 4, "num_blocks": 32, "max_num_seqs": 4, "max_num_batched_tokens": 32, **options})


def everything(llm, dump) -> list:
    """All that a refusal must leave as it is; the number of the next request counts those that were refused as well."""
    kv, waiting, running = llm.kv, list(llm.scheduler.waiting), list(llm.scheduler.running)
    pages = (kv.block_tables, kv.context_lens, kv.free_block_list, kv.ref_counts, kv.cache_refs)
    requests = [(r.token_ids.tolist(), r.num_computed_tokens, r.num_output_tokens) for r in (*waiting, *running)]
    return [repr(pages), waiting, running, requests, dump(llm.pages.cache), llm.stats(), list(llm._queue)]


REFUSED_ALONE = [
    ([], "empty"),
    ("", "empty"),
    (None, "a str, a list of token ids .* got None"),
    (3, "got 3"),
    (2.5, "got 2.5"),
    (True, "got True"),
    (b"ab", "got b'ab'"),
    (bytearray(b"ab"), "got bytearray"),
    (memoryview(b"ab"), "got <memory"),
    ({1, 2}, "got {1, 2}"),
    ({"role": "user", "content": "a"}, "a message goes into a list"),
    ({}, "a message goes into a list"),
    (Unprintable(), "got <Unprintable>"),
    (np.array(3), "got array"),
    (torch.tensor(3), "got torch.int64 .. on cpu"),
    ([1, 61], "token 1 of the prompt is 61; the model knows the ids 0 to 60"),
    ([10**30], "token 0 of the prompt is 1000"),
    ([-1], "-1"),
    ([True, 2], "token 0 of the prompt is True"),
    ([1, None], "None"),
    ([1, "a"], "'a'"),
    ([1.0, 2], "1.0"),
    ([NAN], "nan"),
    ([[1, 2]], "token 0 of the prompt is .1, 2"),
    (["a", "b"], "token 0 of the prompt is 'a'"),
    (np.array([1.0, 2.0]), "token 0 of the prompt is 1.0"),
    (np.array([True]), "True"),
    (np.array([1, 99], dtype=np.uint8), "99"),
    (np.array([[1, 2]]), "token 0 of the prompt is .1, 2"),
    (torch.tensor([1.5]), "1.5"),
    (torch.tensor([-3]), "-3"),
    (torch.ones(0, dtype=torch.int64), "empty"),
    ([1] * 512, "512 tokens"),
    ([1] * 128, "32 pages of 4 tokens"),
    ("a\ud800", "ud800.*surrogates not allowed"),
    ([{"role": "user", "content": "a\udfff"}], "udfff.*surrogates not allowed"),
    ("%", "substring"),
    ([{"role": "user"}], "message 0 has no 'content'"),
    ([{"content": "a"}], "message 0 has no 'role'"),
    ([{"role": "user", "content": "a"}, "b"], "message 1 must be a dict with role and content, got 'b'"),
    ([{"role": "user", "content": 3}], "'content' of message 0 must be a str, got 3"),
    ([{"role": None, "content": "a"}], "'role' of message 0 must be a str, got None"),
]


@pytest.mark.parametrize(("bad", "says"), REFUSED_ALONE)
def test_a_prompt_is_refused_by_name_and_alone(fake, dump, bad, says):
    """Would catch a prompt that is answered as another one, takes its neighbours along, or is half queued."""
    llm = engine(fake)
    running = llm.add_request([1, 2, 3, 4, 5], GREEDY)
    llm.step()
    before = everything(llm, dump)
    with pytest.raises(ValueError, match=rf"^request 'mine': .*({says})"):
        llm.add_request(bad, GREEDY, "mine")
    assert everything(llm, dump) == before
    outputs = llm.generate([[7, 8], bad, [9]], GREEDY)
    assert [output.finish_reason for output in outputs] == ["length", "error", "length"]
    assert [output.token_ids for output in outputs] == [fake[0].greedy([7, 8], 4), [], fake[0].greedy([9], 4)]
    rest = [chunk for _ in range(5) for chunk in llm.step()]
    assert rest[-1].output.request_id == running
    assert rest[-1].output.token_ids == fake[0].greedy([1, 2, 3, 4, 5], 4)
    llm.check_integrity()


@pytest.mark.parametrize(
    "same",
    [
        np.array([5, 6, 7]),
        np.array([5, 6, 7], dtype=np.uint8),
        np.array([4, 5, 6, 7, 8])[1:4],
        np.array([7, 6, 5])[::-1],
        torch.tensor([5, 6, 7]),
        torch.tensor([5, 6, 7], dtype=torch.int32),
        torch.tensor([[5, 0], [6, 0], [7, 0]])[:, 0],
        (5, 6, 7),
        range(5, 8),
        [np.int64(5), np.uint8(6), 7],
        (token for token in (5, 6, 7)),
        "efg",
        [{"role": "user", "content": "efg"}],
    ],
    ids=lambda same: type(same).__name__,
)
def test_the_same_prompt_in_other_clothes(fake, same):
    """Would catch numpy's and torch's ids refused, views read wrongly, or one prompt taken for three."""
    outputs = engine(fake).generate(same, GREEDY)
    assert [output.prompt_token_ids for output in outputs] == [[5, 6, 7]]
    assert outputs[0].token_ids == fake[0].greedy([5, 6, 7], 4)
    assert type(outputs[0].prompt_token_ids[0]) is int


def test_many_prompts_in_other_clothes(fake):
    """Would catch a matrix or an iterator of prompts taken for one."""
    lists = [[1, 2], [3, 4]]
    for many in (lists, iter(lists), np.array(lists), torch.tensor(lists), ["ab", "cd"], np.array(["ab", "cd"])):
        assert [output.prompt_token_ids for output in engine(fake).generate(many, GREEDY)] == [[1, 2], [3, 4]]
    assert engine(fake).generate([], GREEDY) == []


# Calls that are refused as a whole

GOOD = [[1, 2], [3, 4]]
CALLS = {
    "generate(3)": (lambda llm: llm.generate(3), "prompts must be .* got 3"),
    "generate(None)": (lambda llm: llm.generate(None), "prompts must be .* got None"),
    "generate(bytes)": (lambda llm: llm.generate(b"ab"), "prompts must be .* got b'ab'"),
    "generate(message)": (lambda llm: llm.generate({"role": "user", "content": "a"}), "a message goes into a list"),
    "generate(set)": (lambda llm: llm.generate({"a"}), "prompts must be"),
    "generate(0-d)": (lambda llm: llm.generate(np.array(1)), "prompts must be"),
    "generate, params {}": (lambda llm: llm.generate(GOOD, {}), "params must be a SamplingParams.* got {}"),
    "generate, params dict": (lambda llm: llm.generate(GOOD, {"top_k": 1}), "params must be a SamplingParams"),
    "generate, params 0": (lambda llm: llm.generate(GOOD, 0), "params must be .* got 0"),
    "generate, params False": (lambda llm: llm.generate(GOOD, False), "params must be"),
    "generate, params ''": (lambda llm: llm.generate(GOOD, ""), "params must be"),
    "generate, class": (lambda llm: llm.generate(GOOD, SamplingParams), "params must be"),
    "generate, one None": (lambda llm: llm.generate(GOOD, [GREEDY, None]), "params must be .* got None"),
    "generate, too few": (
        lambda llm: llm.generate(GOOD, [GREEDY]),
        "2 prompts need one SamplingParams or as many, got 1",
    ),
    "generate, too many": (lambda llm: llm.generate([1], [GREEDY] * 2), "1 prompts need one"),
    "generate, none of two": (
        lambda llm: llm.generate(GOOD, []),
        "2 prompts need one SamplingParams or as many, got 0",
    ),
    "stream(3)": (lambda llm: llm.stream(3), "prompts must be"),
    "stream, params": (lambda llm: llm.stream(GOOD, "greedy"), "params must be .* got 'greedy'"),
    "add_request, params": (lambda llm: llm.add_request([1], {"top_k": 1}), "params must be a SamplingParams"),
    "add_request, params {}": (lambda llm: llm.add_request([1], {}), "params must be a SamplingParams"),
    "add_request, id 3": (lambda llm: llm.add_request([1], GREEDY, 3), "request_id must be .* got 3"),
    "add_request, id ''": (lambda llm: llm.add_request([1], GREEDY, ""), "request_id must be .* got ''"),
    "add_request, id []": (lambda llm: llm.add_request([1], GREEDY, []), "request_id must be"),
    "add_request, stop id": (
        lambda llm: llm.add_request([1], SamplingParams(stop_token_ids=[61])),
        "stop_token_ids must be ids that the model knows, 0 to 60, got .61",
    ),
    "add_request, id in use": (lambda llm: llm.add_request([1], GREEDY, "used"), "'used': this id belongs to an unfin"),
    "abort, nobody": (lambda llm: llm.abort("nobody"), "no unfinished request 'nobody'"),
    "abort, None": (lambda llm: llm.abort(None), "no unfinished request None"),
    "abort, list": (lambda llm: llm.abort(["used"]), "no unfinished request"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_is_refused_before_anything_is_queued(fake, dump, call):
    """Would catch prompts that were queued before their parameters were looked at, and arguments that are believed."""
    llm = engine(fake)
    llm.add_request([1, 2, 3, 4, 5], GREEDY, "used")
    llm.step()
    before = everything(llm, dump)
    act, says = CALLS[call]
    with pytest.raises((ValueError, KeyError), match=says):
        act(llm)
    assert everything(llm, dump) == before
    assert llm.generate([7, 8], GREEDY)[0].token_ids == fake[0].greedy([7, 8], 4)


def test_the_users_names_and_the_engines_do_not_meet(fake):
    """Would catch prompts without an id that are refused because a user's request has the name that was next."""
    llm = engine(fake)
    llm.add_request([1, 2], GREEDY, "request-1")
    llm.add_request([3], GREEDY, "request-2")
    ids = [llm.add_request([n], GREEDY) for n in (5, 6)]
    assert len({*ids, "request-1", "request-2"}) == 4
    assert [output.error for output in llm.generate([[7], [8], [9]], GREEDY)] == [None] * 3


# Options

OPTIONS = {
    "block_size": [0, -1, 1.0, True, "16", None],
    "num_blocks": [0, -1, 2.0, True, "8", INF],
    "max_model_len": [0, -5, 513, 8.0, True, "8"],
    "max_num_seqs": [0, -1, 1.5, True, None],
    "max_num_batched_tokens": [0, 3, True, "32", None],
    "policy": ["x", "", None, 1, [], "lru"],
    "eviction": ["x", "", None, 1, [], "fcfs"],
    "backend": ["x", "", None, 3, "CUDA"],
    "prefix_cache": ["no", 1, None],
    "graphs": ["no", 0, None],
    "trace": ["no", 2, None],
    "seed": [1.0, None, "1", True],
    "dtype": ["float16", torch.int32, torch.bool, 3, float],
    "device": ["gpu", "", 3.5, "meta", torch.device("meta")],
    "model": [None, 3, [], {}, (1, 2), b"tiny"],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_refused_by_their_own_name_before_a_model_is_loaded(fake, name, monkeypatch):
    """Would catch a 0 that means the default, another option's name, and a model that is loaded first."""
    monkeypatch.setattr("yaie.models.loader.load_model", lambda *_: pytest.fail("a model was loaded"))
    options = {"model": fake if name == "max_model_len" else "tiny", "block_size": 4, "max_num_seqs": 4}
    for value in OPTIONS[name]:
        for make in (LLM, front_door):
            with pytest.raises(ValueError, match=f"^{name}( |=|:).*"):
                make(**{**options, name: value})


def test_a_misspelt_option_is_told_those_that_there_are():
    """Would catch an error that names a class of ours and leaves the user to look for the right name."""
    with pytest.raises(TypeError, match=r"polcy.*there are model, dtype, device.*policy.*eviction"):
        front_door("tiny", polcy="fcfs")
    with pytest.raises(ValueError, match="parts must be None or 'exercises', got 'mine'"):
        front_door("tiny", parts="mine")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        front_door("nowhere/at/all")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:9", torch.device("cuda")])
def test_a_gpu_that_is_not_there_is_named(device):
    """Would catch torch's own words, after the weights were read."""
    with pytest.raises(ValueError, match=r"device must be one that torch finds here \(cpu\), got .*cuda"):
        front_door("tiny", device=device)


def test_a_pool_that_does_not_fit_is_named(fake):
    """Would catch the allocator's words for an option that is too large."""
    for num_blocks in (2**40, 2**62, 10**30):
        with pytest.raises(ValueError, match=f"num_blocks(={num_blocks} of block_size=4| must be .*, got 1000)"):
            LLM(fake, num_blocks=num_blocks, block_size=4)


def test_the_pool_of_a_gpu_is_made_of_its_free_memory(fake, monkeypatch):
    """Would catch a pool from a card's total memory, beside other programs that use it."""
    free, total = 10_000, 90_000
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, total))
    fake[0].device = torch.device("cuda")
    blocks = lambda: affordable_blocks(fake[0], fake[1], 4, 1, "cuda")  # noqa: E731
    assert blocks() == int(free * 0.8) // (4 * 2 * 8)  # tokens of a page, keys and values, float64
    free = 63
    assert blocks() == 1


def test_a_default_device_that_holds_no_numbers(fake):
    """Would catch torch's own words about a device that nobody named to the engine."""
    llm = front_door(fake)
    with torch.device("meta"):
        (output,) = llm.generate([[1, 2]], GREEDY)
    assert "torch's default device" in output.error
    assert "meta" in output.error
    assert llm.generate([[1, 2]], GREEDY)[0].finish_reason == "length"
