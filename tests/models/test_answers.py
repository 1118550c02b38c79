"""The engine on folders with vocabularies of bytes and words: what an answer says is what its tokens say.

A model of random weights, with a vocabulary as Llama 2's, draws bytes, words, spaces and special tokens at random.
"""

import json

import pytest
from safetensors.torch import save_file
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, processors

from yaie import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.models.config import ModelConfig
from yaie.models.llama import Llama

SPACED = [f"▁{first}{second}" for first in "cdefg" for second in "cdefghijklmnopq"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = ["<unk>", "<s>", "</s>", *BYTES, *"▁abhi.é", "▁a", "▁b", "hi", *SPACED, "<|role|>"]


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    words = {word: i for i, word in enumerate(WORDS)}
    backend = Backend(models.BPE(words, [("▁", "a"), ("▁", "b"), ("h", "i")], unk_token="<unk>", byte_fallback=True))
    backend.add_special_tokens(["<unk>", "<s>", "</s>", "<|role|>"])
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.save(str(folder / "tokenizer.json"))
    fields = {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": len(WORDS),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(fields))
    weights = Llama(ModelConfig.from_dict(fields)).checkpoint_views()
    weights["lm_head.weight"].zero_()  # every token is as likely as the others
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / "model.safetensors")
    return LLM(folder, backend="torch", num_blocks=64)


def expected(llm, output):
    """What the whole text has more than the prompt."""
    decode = llm.tokenizer.decode
    whole = decode(output.prompt_token_ids + output.token_ids)
    return whole[len(decode(output.prompt_token_ids)) :]


PROMPTS = ["a", "hi b", "a\n", "é", "", [1], [1, 270, 5 + 3], [1, len(WORDS) - 1]]


def test_text_and_stream_are_what_the_tokens_say(llm):
    """Catches the first space of an answer, lost ends of half characters, and a stream that differs from the text.

    Brothers: prompts that end in a word, a line break, a byte, a special token, or are nothing but the first token.
    """
    first_spaces = 0
    for seed in range(40):
        params = SamplingParams(max_tokens=12, ignore_eos=True, seed=seed)
        joined = dict.fromkeys(range(len(PROMPTS)), "")
        for chunk in llm.stream(PROMPTS, params):
            joined[chunk.index] += chunk.text
            if chunk.output:
                assert joined[chunk.index] == chunk.output.text == expected(llm, chunk.output), chunk.output
                first_spaces += chunk.output.text.startswith(" ")
    assert first_spaces > 10


def test_stop_strings_end_at_their_last_token(llm):
    """Catches stop strings of byte tokens that are found one token late, or as "length" where the answer ends."""
    found = 0
    for seed in range(20):
        params = {"ignore_eos": True, "seed": seed}
        free = llm.generate("a", SamplingParams(max_tokens=12, **params))[0]
        for stop in {char for char in free.text if char.isascii()} | {free.text[-3:]}:
            decoded = [llm.tokenizer.decode(free.prompt_token_ids + free.token_ids[:n])[1:] for n in range(1, 13)]
            count = 1 + next(n for n, text in enumerate(decoded) if stop in text)
            output = llm.generate("a", SamplingParams(max_tokens=count, stop=stop, **params))[0]
            assert (output.finish_reason, output.token_ids) == ("stop", free.token_ids[:count])
            assert output.text == free.text.partition(stop)[0]
            found += len(free.token_ids) > count
    assert found > 20


def test_a_stop_string_that_is_a_special_token(llm):
    """Catches stop strings that no text ever shows."""
    params = [SamplingParams(max_tokens=60, seed=seed, stop="<|role|>") for seed in range(30)]
    outputs = llm.generate(["a"] * len(params), params)
    ended = [output for output in outputs if len(WORDS) - 1 in output.token_ids]
    assert ended
    for output in ended:
        assert output.finish_reason == "stop"
        assert output.token_ids.index(len(WORDS) - 1) == len(output.token_ids) - 1


def test_half_a_character_is_refused_for_its_request(llm):
    """Catches a lone surrogate that ends its neighbours."""
    outputs = llm.generate(["a", "\ud800", "hi"], SamplingParams(max_tokens=2, seed=0))
    assert [output.finish_reason == "error" for output in outputs] == [False, True, False]
    assert "surrogate" in outputs[1].error
