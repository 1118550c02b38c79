"""Text to token ids and back: `tokenizer.json` of a Hugging Face folder, its chat template, and text as it streams."""

import codecs
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import tokenizers

from yaie.kernels.checks import require
from yaie.models import chat_template
from yaie.models.config import read_json, read_text

REPLACEMENT = "\ufffd"  # what decoders print for bytes that are not UTF-8, and for half a character
codecs.register_error("each_byte", lambda error: (REPLACEMENT * (error.end - error.start), error.end))


class Tokenizer:
    """Encodes, decodes and formats chats as `transformers` does for the same folder.

    Attributes:
        eos_token_ids: tokens that end a text, from generation_config.json if it names any, else from config.json.
        special_tokens: `bos_token`, `eos_token` and so on, as tokenizer_config.json names them.
        vocab_size: number of token ids, added tokens included; largest_id: without these.
        byte_of: tokens that are one byte each, as sentencepiece vocabularies have them (`<0xE2>`).
    """

    def __init__(self, folder: str | Path):
        """Read the tokenizer of a folder. FileNotFoundError: it has none; ValueError: a file is malformed."""
        self.folder = Path(folder)
        self._path = self.folder / "tokenizer.json"
        if not self._path.is_file():
            raise FileNotFoundError(
                f"{self._path} is missing. A folder that has only tokenizer.model can be converted: "
                "transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
            )
        with _named(f"{self._path} is not a tokenizer"):
            self._tokenizer = tokenizers.Tokenizer.from_file(str(self._path))
        kind = type(self._tokenizer.model).__name__
        if kind not in ("BPE", "Unigram", "WordLevel"):  # WordPiece changes text that was given out
            raise ValueError(f"{self._path}: model {kind!r} is not supported; supported: BPE, Unigram, WordLevel")
        # A folder may carry the settings of a training run; here they would cut or pad prompts without a word.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        config = read_json(self.folder / "tokenizer_config.json")
        self.special_tokens = _special_tokens(self.folder, config)
        self.chat_template = _chat_template(self.folder, config)
        self.eos_token_ids = read_eos_token_ids(self.folder)
        self._lengths: dict[int, int] = {}  # of the texts of single tokens, as far as they were asked for
        self.vocab_size = self._tokenizer.get_vocab_size()
        self.largest_id = max(self._tokenizer.get_vocab(with_added_tokens=False).values(), default=0)
        added = self._tokenizer.get_added_tokens_decoder()
        self._skipped = frozenset(token_id for token_id, token in added.items() if token.special)
        decoder = self._tokenizer.decoder
        has_bytes = decoder is not None and decoder.decode(["<0x41>"]) == "A"
        byte_of = {self._tokenizer.token_to_id(f"<0x{byte:02X}>"): byte for byte in range(256 if has_bytes else 0)}
        self.byte_of = {token_id: byte for token_id, byte in byte_of.items() if token_id is not None}

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text, with what the tokenizer puts around every text (Llama 3: `<|begin_of_text|>`).
        ValueError: it is no text, or has half a character in it (a lone surrogate)."""
        require(isinstance(text, str), "text must be a str", text)
        with _named(f"{self._path} fails on this text"):
            text.encode()  # its words for half a character
            return self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def length(self, ids: Sequence[int]) -> int:
        """Characters in the text of token ids. Of one token, for which a stream asks most often, it is remembered."""
        if len(ids) != 1:
            return len(self.decode(ids))
        if ids[0] not in self._lengths:
            self._lengths[ids[0]] = len(self.decode(ids))
        return self._lengths[ids[0]]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of token ids. Bytes that are not UTF-8 become U+FFFD.

        Byte tokens that are not UTF-8 leave the characters around them whole, unlike in transformers, where one such
        byte spoils all that follow each other: so what was streamed need not be taken back.
        """
        try:
            ids = list(ids)
            if self.byte_of.keys().isdisjoint(ids):
                return self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
            kept = [token_id for token_id in ids if not (skip_special_tokens and token_id in self._skipped)]
            tokens: list[str] = []
            for are_bytes, run in groupby(kept, self.byte_of.__contains__):
                if are_bytes:
                    tokens += bytes(map(self.byte_of.__getitem__, run)).decode(errors="each_byte")
                else:
                    tokens += filter(None, map(self._tokenizer.id_to_token, run))
            return self._tokenizer.decoder.decode(tokens)
        except (TypeError, OverflowError):
            raise ValueError(f"ids must be token ids, integers from 0 on, got {ids!r:.80}") from None

    def is_special(self, token_id: int) -> bool:
        """Does `decode` skip this token (a role, the end of a text)?"""
        return token_id in self._skipped

    def detokenizer(self) -> "Detokenizer":
        """A fresh `Detokenizer` for one text."""
        return Detokenizer(self)

    def check_chat_template(self) -> None:
        """ValueError: there is a chat template, and it cannot be read. To read it takes a process of its own."""
        if self.chat_template is not None:
            with _named(f"the chat template of {self.folder} is broken"):
                chat_template.check(self.chat_template)

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> list[int]:
        """Token ids of `{"role": ..., "content": ...}` messages; `add_generation_prompt` adds what begins an answer.
        ValueError: there is no chat template, or it refuses these messages, fails or runs on."""
        text = self.render_chat(messages, add_generation_prompt)
        return self.encode(text, add_special_tokens=False)  # the template has written them already

    def render_chat(self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True) -> str:
        """The text that `apply_chat_template` encodes."""
        if self.chat_template is None:
            raise ValueError(
                f"{self.folder} has no chat template (chat_template in tokenizer_config.json, or "
                "chat_template.jinja): use a model tuned for chat, or plain prompts"
            )
        variables = {"messages": messages, "tools": None, "documents": None, **self.special_tokens}
        variables["add_generation_prompt"] = add_generation_prompt
        try:
            return chat_template.render(self.chat_template, variables)
        except ValueError as error:
            raise ValueError(f"the chat template of {self.folder} refuses these messages: {error}") from None


class Detokenizer:
    """Text piece by piece while tokens arrive. All pieces joined are `tokenizer.decode` of all tokens.

    A piece never ends in half a character: what the next token might still change is held back until then, or until
    `finish`. Only a short window of tokens is decoded each time. It begins with tokens whose text was returned before,
    or with the end of a prompt, because decoders treat the start of a text differently.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._num_old = 0  # tokens at the start of the window whose text was returned before
        self._num_given = 0  # characters of the window's text that were returned

    def follow(self, prompt: Sequence[int]) -> None:
        """Begin a text that goes on from a prompt: the space at its front, which decoders drop at the front of a text,
        is not lost."""
        tail = [int(token_id) for token_id in prompt if not self._tokenizer.is_special(token_id)][-4:]
        for count in range(1, len(tail) + 1):  # the last character may be of up to four tokens, a byte each
            text = self._tokenizer.decode(tail[-count:])
            if not text.endswith(REPLACEMENT):  # half a character belongs to the prompt
                self._window, self._num_old, self._num_given = tail[-count:], count, len(text)
                return

    def add(self, token_id: int) -> str:
        """The text that is certain now that this token has come; often one token's, sometimes empty."""
        if self._tokenizer.is_special(token_id):
            return ""  # decode skips it
        self._window.append(token_id)
        text = certain = self._tokenizer.decode(self._window)
        for _ in range(3 if token_id in self._tokenizer.byte_of else 1):  # perhaps the first bytes of a character
            certain = certain.removesuffix(REPLACEMENT)
        piece = certain[self._num_given :]
        self._num_given += len(piece)
        if piece and certain == text:
            del self._window[: self._num_old]
            self._num_old = len(self._window)
            self._num_given = self._tokenizer.length(self._window)
        return piece

    def finish(self) -> str:
        """What was held back; the text is over."""
        return self._tokenizer.decode(self._window)[self._num_given :]


def read_eos_token_ids(folder: Path) -> tuple[int, ...]:
    """The tokens that end a text; see `Tokenizer.eos_token_ids`."""
    for name in ("generation_config.json", "config.json"):
        ids = read_json(folder / name).get("eos_token_id")
        if ids is None:
            continue
        ids = ids if isinstance(ids, list) else [ids]
        if not all(type(token_id) is int and token_id >= 0 for token_id in ids):
            raise ValueError(f"{folder / name}: eos_token_id must be a token id, or a list of them, got {ids!r:.80}")
        return tuple(ids)
    return ()


def _special_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token`, `eos_token`, ...: each is a string, or an object with the string in `content`."""
    named = {**read_json(folder / "special_tokens_map.json"), **config}
    tokens = {
        name: value.get("content") if isinstance(value, Mapping) else value
        for name, value in named.items()
        if name.endswith("_token") and not name.startswith("add_")
    }
    return {name: token for name, token in tokens.items() if isinstance(token, str)}


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return read_text(path)
    template = config.get("chat_template")
    if isinstance(template, list) and all(isinstance(entry, dict) for entry in template):  # several by name
        template = {entry.get("name"): entry.get("template") for entry in template}.get("default")
    if template is not None and not isinstance(template, str):
        expected = "chat_template must be a string, or a list of objects with name and template"
        raise ValueError(f"{folder / 'tokenizer_config.json'}: {expected}, got {template!r:.80}")
    return template


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Errors of the tokenizers library, raised as ValueErrors that say what was wrong. Its panics are no Exceptions."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise ValueError(f"{what}: {error}") from None
