"""The tokenizer against transformers, and streaming against decoding everything at once."""

import json
import shutil

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from yaie.engine.output import TextStream
from yaie.models.config import UnsupportedModelError
from yaie.models.loader import TINY, load_model
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


WORDS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abHhio.é", "▁a", "▁b", "▁H", "hi"]


def metaspace():
    """A vocabulary as Llama 2's or Mistral's in its newer form, with Metaspace on both sides."""
    backend = Backend(
        models.BPE(
            {word: i for i, word in enumerate(WORDS)},
            [("▁", "a"), ("▁", "b"), ("▁", "H"), ("h", "i")],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    return backend


def unigram():
    """A vocabulary as T5's or XGLM's: the likeliest pieces, with bytes for the rest."""
    pieces = [(word, 0.0 if i < 3 else -5.0 + 0.1 * len(word)) for i, word in enumerate(WORDS)]
    backend = Backend(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()])
    return backend


def byte_level():
    """A vocabulary as GPT-2's, Llama 3's and Qwen's."""
    return Backend.from_file(str(TINY / "tokenizer.json"))


VOCABULARIES = {f.__name__: f for f in (sentencepiece_like, metaspace, unigram, byte_level)}


@pytest.fixture(scope="module", params=VOCABULARIES)
def vocabulary(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp(request.param), VOCABULARIES[request.param]())


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


# --- every kind of vocabulary -------------------------------------------------------------------------------


TEXTS = ["a b", "Hi\n", "a\n\nb", "\n", "é🙂世 a", "🙂", "a  b", " a", "\ta\r\n", "b" * 40 + "\n", "x\ufffdy"]


@pytest.mark.parametrize("text", TEXTS)
def test_whole_characters_come_with_their_last_token(vocabulary, text):
    """Catches text that waits for the next word. Only the bytes of an unfinished character may wait.

    Brothers: a line break between words, at the end, two, with a tab, after long words; characters of two, three and
    four bytes; U+FFFD that is meant; in vocabularies of four kinds.
    """
    ids = vocabulary.encode(text, add_special_tokens=False)
    detokenizer, seen = vocabulary.detokenizer(), ""
    for count, token_id in enumerate(ids, 1):
        seen += detokenizer.add(token_id)
        whole = vocabulary.decode(ids[:count])
        assert whole.startswith(seen)
        assert whole[len(seen) :].strip("\ufffd") == ""
        if not whole.endswith("\ufffd"):
            assert seen == whole
    assert seen + detokenizer.finish() == vocabulary.decode(ids)


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_is_that_of_the_library(vocabulary, text):
    """Catches bytes, spaces and ends of our own making, wherever the bytes are characters."""
    ids = vocabulary.encode(text)
    for skip in (True, False):
        expected = vocabulary._tokenizer.decode(ids, skip_special_tokens=skip)
        assert vocabulary.decode(ids, skip_special_tokens=skip) == expected


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_an_answer_is_what_the_whole_text_has_more_than_the_prompt(vocabulary, data):
    """Catches the first space of an answer, which decoders drop at the front of a text, and ends of half characters.

    Brothers: a prompt that ends in a word, a space, a line break, a byte, a special token; no prompt; only special
    tokens; answers that begin with a word, a space, a byte, a special token, and end anywhere.
    """
    token = st.integers(0, min(vocabulary.vocab_size, 300) - 1)
    prompt, answer = data.draw(st.lists(token, max_size=5)), data.draw(st.lists(token, max_size=12))
    before = vocabulary.decode(prompt)
    assume(not before.endswith("\ufffd"))  # else the answer may begin in a character of the prompt
    detokenizer = vocabulary.detokenizer()
    detokenizer.follow(prompt)
    pieces = [*map(detokenizer.add, answer), detokenizer.finish()]
    assert "".join(pieces) == vocabulary.decode(prompt + answer)[len(before) :]


def test_the_first_space_of_an_answer(vocabulary):
    """Catches answers glued to their prompts: "I am" and "fine" must not read "I amfine"."""
    prompt, whole = (vocabulary.encode(text, add_special_tokens=False) for text in ("a", "a b"))
    special = next(token_id for token_id in range(5) if vocabulary.is_special(token_id))
    assert whole[: len(prompt)] == prompt
    for before in (prompt, [*prompt, special]):
        detokenizer = vocabulary.detokenizer()
        detokenizer.follow(before)
        assert "".join(map(detokenizer.add, whole[len(prompt) :])) == " b"
    assert "".join(map(vocabulary.detokenizer().add, prompt)) == "a"


def test_a_prompt_that_ends_in_half_a_character_keeps_it(vocabulary):
    """Catches an answer whose first bytes vanish in a character of the prompt."""
    euro = vocabulary.encode("é", add_special_tokens=False) if vocabulary.byte_of == {} else [3 + 0xC3, 3 + 0xA9]
    assert len(euro) == 2
    assert vocabulary.decode(euro) == "é"
    detokenizer = vocabulary.detokenizer()
    detokenizer.follow(euro[:1])
    assert detokenizer.add(euro[1]) + detokenizer.finish() == vocabulary.decode(euro[1:]) == "\ufffd"


@pytest.mark.parametrize("stop", ["\n", "\n\n", "b\n", "é", "a\nb"])
def test_stop_strings_of_bytes_end_at_their_last_token(vocabulary, stop):
    """Catches stop strings that are found one token late, or never when the answer ends there.

    Brothers: one line break, two, one after a word, one within words, a character of two bytes.
    """
    before, after = (vocabulary.encode(text, add_special_tokens=False) for text in (f"a {stop}", f"a {stop}b"))
    text = TextStream(vocabulary.detokenizer(), (stop,))
    found = [text.push(token_id) for token_id in after]
    end = found.index(True) + 1
    assert end == next(n for n in range(1, len(after) + 1) if stop in vocabulary.decode(after[:n]))
    assert end <= len(before)
    assert text.take() == text.text == vocabulary.decode(after[:end]).partition(stop)[0]


def test_a_broken_byte_leaves_the_rest_whole(bytes_fallback):
    """Catches a line break that was given out and is taken back, because a byte after it is no character."""
    line, broken, half = 3 + 0x0A, 3 + 0xFF, 3 + 0xE2
    assert bytes_fallback.decode([line, broken]) == "\n\ufffd"
    assert bytes_fallback.decode([broken, line, half, half, line]) == "\ufffd\n\ufffd\ufffd\n"
    assert stream(bytes_fallback, [line, half]) == ["\n", "", "\ufffd"]
    spelt = [3 + byte for byte in b"<0x41>"]  # characters that look like the name of a byte
    assert bytes_fallback.decode(spelt) == "<0x41>"


def test_names_that_look_like_bytes_in_other_vocabularies(tmp_path):
    """Catches an ordinary token `<0x41>` of a byte-level vocabulary that is read as a byte."""
    backend = byte_level()
    backend.add_tokens(["<0x41>"])
    tokenizer = write(tmp_path, backend)
    ids = tokenizer.encode("<0x41>")
    assert len(ids) == 1
    assert tokenizer.decode(ids) == "".join(stream(tokenizer, ids)) == "<0x41>"


# --- files --------------------------------------------------------------------------------------------------


def test_vocabularies_that_take_text_back_are_refused(tmp_path):
    """Catches WordPiece, whose decoder moves spaces when the next word comes: no stream of it is the text."""
    backend = Backend(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    with pytest.raises(
        ValueError, match=r"tokenizer\.json: model 'WordPiece' is not supported; supported: BPE, Unigram"
    ):
        write(tmp_path, backend)


def changed(change):
    fields = json.loads((TINY / "tokenizer.json").read_text())
    change(fields)
    return json.dumps(fields)


def normalizer(**fields):
    return lambda tokenizer: tokenizer.update(normalizer=fields)


def splits_at(pattern):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return lambda tokenizer: tokenizer.update(pre_tokenizer=split)


MALFORMED = {
    "empty": "",
    "null": "null",
    "a list": "[]",
    "deep brackets": "[" * 10**5,
    "no model": changed(lambda t: t.pop("model")),
    "a model of no kind": changed(lambda t: t["model"].update(type="Nonsense")),
    "text for a vocabulary": changed(lambda t: t["model"].update(vocab="x")),
    "a negative id": changed(lambda t: t["model"]["vocab"].update(zz=-1)),
    "text for an id": changed(lambda t: t["model"]["vocab"].update(zz="1")),
    "an id of 65 bits": changed(lambda t: t["model"]["vocab"].update(zz=2**64)),
    "a merge of unknown tokens": changed(lambda t: t["model"]["merges"].append(["qq", "zz"])),
    "a regex that is none": changed(splits_at("(")),
    "a normalizer that panics": changed(normalizer(type="Precompiled", precompiled_charsmap="AAAA")),
    "an unknown decoder": changed(lambda t: t.update(decoder={"type": "Nonsense"})),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_tokenizers_are_named(tmp_path, case):
    """Catches panics of the library, which are no Exceptions, and its errors without the name of the file."""
    (tmp_path / "tokenizer.json").write_text(MALFORMED[case])
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer: ."):
        Tokenizer(tmp_path)


def test_a_regex_that_panics_is_an_error_of_one_text(tmp_path):
    """Catches an engine that dies of a text on which a regex of the folder gives up."""
    (tmp_path / "tokenizer.json").write_text(changed(splits_at("(a+)+$")))
    tokenizer = Tokenizer(tmp_path)
    with pytest.raises(ValueError, match=r"tokenizer\.json fails on this text: .*[Rr]etry"):
        tokenizer.encode("a" * 60 + "b")
    assert tokenizer.encode("ab")


@pytest.mark.parametrize("template", [5, True, {}, {"default": "x"}, ["x"], [{"name": "default", "template": 5}]])
def test_templates_of_the_wrong_kind(tmp_path, template):
    """Catches a template that is no text, found only when somebody chats."""
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: chat_template must be a string.*got"):
        write(tmp_path, sentencepiece_like(), {"chat_template": template})


@pytest.mark.parametrize("template", ["{% if %}", "{% for a in b %}", "{{ a | nonsense }}"])
def test_a_broken_template_is_known_before_the_first_chat(tmp_path, template):
    """Catches a server that starts without a word, and refuses every chat."""
    tokenizer = write(tmp_path, sentencepiece_like(), {"chat_template": template})
    with pytest.raises(ValueError, match=rf"the chat template of {tmp_path} is broken: Template"):
        tokenizer.check_chat_template()


def test_a_template_that_is_no_text(tmp_path):
    """Catches an error of a codec that does not name the file, and templates of a gigabyte."""
    write(tmp_path, sentencepiece_like())
    file = tmp_path / "chat_template.jinja"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"chat_template\.jinja is not UTF-8"):
        Tokenizer(tmp_path)
    with file.open("wb") as sparse:
        sparse.truncate(2**30)
    with pytest.raises(ValueError, match=r"chat_template\.jinja has 1073741824 bytes; expected at most"):
        Tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"vocab_size": 1023},
            r"tokenizer\.json or eos_token_id has the id 1023, but config\.json has vocab_size=1023",
        ),
        ({"eos_token_id": None, "vocab_size": 1025}, "embed_tokens"),
        ({"eos_token_id": [2, 1024]}, r"eos_token_id has the id 1024, but config\.json has vocab_size=1024"),
    ],
)
def test_ids_that_the_model_does_not_know(tmp_path, change, message):
    """Catches a tokenizer of another model, and an end that never comes."""
    for name in ("tokenizer.json", "config.json", "tokenizer_config.json", "model.safetensors"):
        shutil.copy(TINY / name, tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(UnsupportedModelError, match=message):
        load_model(tmp_path)


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
    ],
)
def test_a_template_that_refuses(tmp_path, template, message):
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
