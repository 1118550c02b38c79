"""Text as it streams: what is held back, what comes at the end, and stop strings of every kind of token."""

from types import SimpleNamespace

import pytest

from yaie.engine.llm import LLM
from yaie.engine.output import TextStream
from yaie.engine.sampling_params import SamplingParams
from yaie.models.loader import load_model


def stream_of(*pieces: str, end: str = "", stop: tuple[str, ...] = ()) -> TextStream:
    """A text whose token n adds piece n, and whose end brings what was held back."""
    return TextStream(SimpleNamespace(add=lambda token: pieces[token], finish=lambda: end), stop)


@pytest.mark.parametrize(
    ("piece", "stop", "taken"),
    [
        ("abc", "cde", "ab"),
        ("abcd", "cde", "ab"),
        ("abd", "cde", "abd"),  # d is in it, and does not begin it
        ("ade", "cde", "ade"),
        ("xaa", "aab", "x"),
        ("xaaa", "aab", "xa"),
        ("a", "a" * 9, ""),
        ("abc", "x", "abc"),
        ("aXY", "XYXYZ", "a"),
        ("aXYX", "XYXYZ", "a"),
        ("aXYZ", "XYXYZ", "aXYZ"),
    ],
)
def test_text_is_held_back_as_far_as_a_stop_may_be_coming_and_no_further(piece, stop, taken):
    """Would catch text that comes late though no stop is coming, and the beginning of one that is shown."""
    text = stream_of(piece, stop=("never", stop))
    assert not text.push(0)
    assert text.take() == taken
    assert not text.finish()
    assert taken + text.take() == text.text == piece


def test_a_stop_string_may_come_with_the_end():
    """Would catch a reason "length" for an answer that its stop string ended, in bytes that a decoder held back."""
    text = stream_of("a", end="\n", stop=("\n",))
    assert not text.push(0)
    assert text.finish()
    assert text.take() == text.text == "a"
    assert not text.finish()


class HalfCharacters:
    """Wraps a tokenizer's detokenizer: every piece comes one token late, as bytes of a long character do."""

    def __init__(self, inner) -> None:
        self.inner, self.kept = inner, ""

    def add(self, token: int) -> str:
        piece, self.kept = self.kept, self.inner.add(token)
        return piece

    def finish(self) -> str:
        return self.kept + self.inner.finish()


@pytest.mark.parametrize("stop", [None, "at the end"])
def test_an_answer_has_its_last_half_character(fake, stop):
    """Would catch text that is cut where the answer ends inside a character, in `generate` and in a stream."""
    model, config, tokenizer = fake
    plain, expected = tokenizer.detokenizer, model.greedy([1, 2, 3], 7)
    tokenizer.detokenizer = lambda: HalfCharacters(plain())
    full = tokenizer.decode(expected)
    params = SamplingParams(temperature=0, max_tokens=7, ignore_eos=True, stop=stop and full[-1])
    assert expected[-1] != 0
    assert full.find(full[-1]) == len(full) - 1
    for _ in range(2):
        chunks = list(LLM((model, config, tokenizer), num_blocks=16).stream([1, 2, 3], params))
        output = chunks[-1].output
        assert output.token_ids == expected
        assert "".join(chunk.text for chunk in chunks) == output.text == (full[:-1] if stop else full)
        assert output.finish_reason == ("stop" if stop else "length")


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


def test_texts_of_the_shipped_model_are_those_of_its_tokenizer(tiny):
    """Would catch an end that is lost (1 of 60 answers ended inside a character), whole or as it streams."""
    llm = LLM(tiny, num_blocks=256)
    params = [SamplingParams(temperature=8, seed=n, max_tokens=1 + n % 5, ignore_eos=True) for n in range(60)]
    pieces = dict.fromkeys(range(60), "")
    ends_open = 0
    for chunk in llm.stream(["bob=4;"] * 60, params):
        pieces[chunk.index] += chunk.text
        if chunk.output:
            assert pieces[chunk.index] == chunk.output.text == tiny[2].decode(chunk.output.token_ids)
            ends_open += chunk.output.text.endswith("\ufffd")
    assert ends_open > 0


def test_a_stop_string_that_is_a_special_token_fires(tiny):
    """Would catch a stop that never comes, because no text shows a special token; and one that is half special."""
    llm, tokenizer = LLM(tiny, num_blocks=64), tiny[2]
    end = tokenizer.eos_token_ids[0]
    special = tokenizer.decode([end], skip_special_tokens=False)
    chat = [{"role": "user", "content": "2+3="}]
    usual = llm.generate([chat], SamplingParams(temperature=0))[0]
    assert usual.token_ids[-1] == end
    params = SamplingParams(temperature=0, ignore_eos=True, max_tokens=20, stop=["never", special])
    output = llm.generate([chat], params)[0]
    assert (output.finish_reason, output.token_ids, output.text) == ("stop", usual.token_ids, usual.text)
    half = SamplingParams(stop=f"5{special}")
    assert "one special token and nothing else" in llm.generate([chat, chat], [half, params])[0].error


@pytest.mark.parametrize("pieces", [("STOP", "x"), ("ST", "OP"), ("S", "TOPx")])
def test_an_answer_may_begin_with_its_stop_string(pieces):
    """Would catch a stop string that is looked for behind the first character only."""
    text = stream_of(*pieces, stop=("STOP",))
    assert [text.push(n) for n in range(2) if text.detokenizer][-1]
    assert text.take() == text.text == ""
