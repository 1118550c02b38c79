"""The tokenizer against transformers, and streaming against decoding everything at once."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, processors

from yaie.models.loader import TINY
from yaie.models.tokenizer import Detokenizer, Tokenizer

CHATS = [
    [{"role": "user", "content": "12+34="}],
    [
        {"role": "system", "content": "alice=17;bob=42"},
        {"role": "user", "content": "bob?"},
        {"role": "assistant", "content": "42"},
        {"role": "user", "content": "Grüße, 世界 🙂 <|end|>"},
    ],
]


@pytest.fixture(scope="module")
def tiny():
    return Tokenizer(TINY)


def write(folder, backend, tokenizer_config=None, **files):
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config or {}))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return Tokenizer(folder)


def sentencepiece_like():
    """A vocabulary as Llama 2's: words begin with `▁`, rare characters are bytes, a first space is dropped."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "▁b", "é", "�"]
    backend = Backend(
        models.BPE(
            {word: i for i, word in enumerate(words)}, [("▁", "a"), ("▁", "b")], unk_token="<unk>", byte_fallback=True
        )
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return backend


@pytest.fixture(scope="module")
def bytes_fallback(tmp_path_factory):
    return write(tmp_path_factory.mktemp("sentencepiece"), sentencepiece_like())


# --- against transformers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "bob=42", "  two  spaces\n", "Grüße, 世界 🙂", "<|user|>bob?<|end|>"])
def test_tiny_encodes_and_decodes_as_in_transformers(tiny, text):
    """Catches special tokens that are added or dropped, and spaces that are cleaned up."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(TINY)
    ids = tiny.encode(text)
    assert ids == theirs.encode(text)
    assert tiny.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert tiny.decode(ids, skip_special_tokens=False) == theirs.decode(ids)


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_tiny_chat_template_is_that_of_transformers(tiny, chat, add_generation_prompt):
    """Catches a second BOS, other white space, and a missing start of the answer."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(TINY)
    expected = theirs.apply_chat_template(chat, add_generation_prompt=add_generation_prompt, return_dict=False)
    assert tiny.apply_chat_template(chat, add_generation_prompt=add_generation_prompt) == expected


def test_template_features_are_those_of_transformers(tmp_path):
    """Catches a template language that differs: block trimming, loop controls, filters and globals."""
    import transformers

    template = """{{ bos_token }}
    {%- set seen = namespace(count=0) %}
    {% for m in messages %}
        {% if m.role == 'stop' %}{% break %}{% endif %}
        {% set seen.count = seen.count + 1 %}
    [{{ m['role'] }}] {{ m['content'] | trim }}{{ eos_token }}{{ m | tojson }} {{ {'a': '<&é'} | tojson(indent=2) }}
    {% generation %}{{ loop.index0 }}{% endgeneration %}
    {% endfor %}
    {{ seen.count }} {{ strftime_now('%Y') }} {{ tools is none }} {% if add_generation_prompt %}[assistant]{% endif %}
    """
    backend = Backend.from_file(str(TINY / "tokenizer.json"))
    eos = {"__type": "AddedToken", "content": "<|end|>", "special": True}
    config = {
        "bos_token": "<|bos|>",
        "eos_token": eos,
        "chat_template": template,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    ours = write(tmp_path, backend, config)
    chat = [{"role": "user", "content": " é\n"}, {"role": "x", "content": "<b>"}, {"role": "stop", "content": ""}]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    expected = theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert ours.render_chat(chat) == expected
    assert "[assistant]" in expected
    assert "[stop]" not in expected


def test_tokens_around_a_text_are_added_once(tmp_path):
    """Catches a plain prompt without Llama's BOS, and a chat with two of them."""
    config = {"bos_token": "<s>", "chat_template": "{{ bos_token }}{{ messages[0].content }}"}
    tokenizer = write(tmp_path, sentencepiece_like(), config)
    assert tokenizer.encode("a").count(1) == 1
    assert tokenizer.encode("a", add_special_tokens=False).count(1) == 0
    assert tokenizer.apply_chat_template([{"role": "user", "content": "a"}]).count(1) == 1


# --- streaming ----------------------------------------------------------------------------------------------


def stream(tokenizer, ids):
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.add(i) for i in ids), detokenizer.finish()]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(0, 1030), max_size=30))
def test_pieces_join_to_the_whole_text(tiny, ids):
    """Catches lost or doubled text around special tokens, invalid bytes and ids beyond the vocabulary."""
    assert "".join(stream(tiny, ids)) == tiny.decode(ids)


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=20))
def test_no_piece_holds_half_a_character(tiny, text):
    """Catches streams that print U+FFFD for characters of several tokens."""
    text = text.replace("\ufffd", "?")
    ids = tiny.encode(text)
    pieces = stream(tiny, ids)
    assert "".join(pieces) == tiny.decode(ids)
    assert not any("\ufffd" in piece for piece in pieces)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from([*range(3), 0xE2 + 3, 0x82 + 3, 0xAC + 3, 0x41 + 3, *range(259, 266)]), max_size=25))
def test_pieces_join_where_characters_are_spelt_in_bytes(bytes_fallback, ids):
    """Catches a first space dropped from every piece, and a run of bytes whose later bytes make the earlier invalid."""
    assert "".join(stream(bytes_fallback, ids)) == bytes_fallback.decode(ids)


def test_text_comes_as_soon_as_it_is_certain(tiny):
    """Catches a detokenizer that gives everything out at the end, or that waits for ever after one invalid byte."""
    ids = tiny.encode("one two three")
    pieces = stream(tiny, ids)
    assert all(pieces[: len(ids)])
    assert pieces[-1] == ""
    half = tiny.encode("é")[:1]
    assert tiny.decode(half) == "\ufffd"
    detokenizer = tiny.detokenizer()
    assert [detokenizer.add(i) for i in half] == [""]
    assert detokenizer.add(ids[0]) == "\ufffd" + tiny.decode(ids[:1])


def test_long_texts_cost_no_more_per_token(tiny, monkeypatch):
    """Catches decoding all tokens again for each new one."""
    longest = 0
    decode = tiny.decode

    def count(ids, **options):
        nonlocal longest
        longest = max(longest, len(ids))
        return decode(ids, **options)

    monkeypatch.setattr(tiny, "decode", count)
    stream(tiny, tiny.encode("some words 世界 " * 50))
    assert longest < 12


# --- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": [7, 8]}, {"eos_token_id": 2}, (7, 8)),
        ({"eos_token_id": 7}, {"eos_token_id": 2}, (7,)),
        ({"do_sample": True}, {"eos_token_id": [2, 3]}, (2, 3)),
        ({}, {"eos_token_id": None}, ()),
    ],
)
def test_end_tokens(tmp_path, generation, config, expected):
    """Catches Llama 3 answers that run on because only one of its end tokens is known."""
    tokenizer = write(tmp_path, sentencepiece_like(), generation_config=generation, config=config)
    assert tokenizer.eos_token_ids == expected


def test_settings_of_a_training_run_are_ignored(tmp_path):
    """Catches prompts that are cut or padded without a word."""
    backend = sentencepiece_like()
    backend.enable_truncation(4)
    backend.enable_padding(length=10, pad_id=0, pad_token="<unk>")
    tokenizer = write(tmp_path, backend)
    assert len(tokenizer.encode("a a a a a a")) == 7
    assert len(tokenizer.encode("a")) == 2


def test_where_a_template_is_found(tmp_path):
    """Catches folders that store several templates, or the template in a file of its own."""
    config = {"chat_template": [{"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}]}
    assert write(tmp_path, sentencepiece_like(), config).render_chat([]) == "yes"
    (tmp_path / "chat_template.jinja").write_text("file")
    assert Tokenizer(tmp_path).render_chat([]) == "file"


def test_a_folder_without_template_says_so(bytes_fallback):
    """Catches an AttributeError where the model is not one for chat."""
    with pytest.raises(ValueError, match="no chat template"):
        bytes_fallback.apply_chat_template(CHATS[0])


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages.append(1) }}", "refuses"),
        ("{{ ''.__class__.__mro__ }}", "refuses"),
        ("{{ 'a' + none }}", "refuses"),
        ("{% if %}", "refuses"),
    ],
)
def test_a_template_that_refuses_or_is_broken(tmp_path, template, message):
    """Catches a template's own refusal that looks like a bug of ours, and templates that reach out of the sandbox."""
    tokenizer = write(tmp_path, sentencepiece_like(), {"chat_template": template})
    with pytest.raises(ValueError, match=message):
        tokenizer.apply_chat_template(CHATS[0])


def test_damaged_or_missing_files_are_named(tmp_path):
    """Catches errors that do not say which file is wrong."""
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json is missing"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer"):
        Tokenizer(tmp_path)
    shutil.copy(TINY / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json is not valid JSON"):
        Tokenizer(tmp_path)
