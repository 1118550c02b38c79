"""Text to token ids and back: `tokenizer.json` of a Hugging Face folder, its chat template, and text as it streams."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import tokenizers
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from yaie.models.config import read_json

REPLACEMENT = "\ufffd"  # what decoders print for bytes that are not UTF-8, and for half a character


class Tokenizer:
    """Encodes, decodes and formats chats as `transformers` does for the same folder.

    Attributes:
        eos_token_ids: tokens that end a text, as `generate` of transformers takes them: from generation_config.json if
            it names any, else from config.json.
        special_tokens: `bos_token`, `eos_token` and so on, as tokenizer_config.json names them.
        vocab_size: number of token ids, added tokens included.
    """

    def __init__(self, folder: str | Path):
        """Read the tokenizer of a folder.

        Raises:
            FileNotFoundError: there is no tokenizer.json.
            ValueError: a file is not what it should be.
        """
        self.folder = Path(folder)
        path = self.folder / "tokenizer.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing. A folder that has only tokenizer.model can be converted: "
                "transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
            )
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise ValueError(f"{path} is not a tokenizer: {error}") from None
        # A folder may carry the settings of a training run; here they would cut or pad prompts without a word.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        config = read_json(self.folder / "tokenizer_config.json")
        self.special_tokens = _special_tokens(self.folder, config)
        self.chat_template = _chat_template(self.folder, config)
        self.eos_token_ids = read_eos_token_ids(self.folder)
        self.vocab_size = self._tokenizer.get_vocab_size()
        self._special_ids = {
            token_id for token_id, added in self._tokenizer.get_added_tokens_decoder().items() if added.special
        }

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text, with what the tokenizer puts around every text (Llama 3: `<|begin_of_text|>`)."""
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of token ids. Bytes that are not UTF-8 become U+FFFD."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def is_special(self, token_id: int) -> bool:
        """Does `decode` skip this token (a role, the end of a text)?"""
        return token_id in self._special_ids

    def is_byte(self, token_id: int) -> bool:
        """Is this one byte of a sentencepiece vocabulary, such as `<0xE2>`?"""
        return re.fullmatch(r"<0x[0-9A-F]{2}>", self._tokenizer.id_to_token(token_id) or "") is not None

    def detokenizer(self) -> "Detokenizer":
        """A fresh `Detokenizer` for one text."""
        return Detokenizer(self)

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> list[int]:
        """Token ids of a chat.

        Args:
            messages: `{"role": ..., "content": ...}` each.
            add_generation_prompt: end with what begins the assistant's answer.

        Raises:
            ValueError: the folder has no chat template, or the template refuses these messages.
        """
        text = self.render_chat(messages, add_generation_prompt)
        return self.encode(text, add_special_tokens=False)  # the template has written them already

    def render_chat(self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True) -> str:
        """The text that `apply_chat_template` encodes."""
        if self.chat_template is None:
            raise ValueError(
                f"{self.folder} has no chat template (chat_template in tokenizer_config.json, or "
                "chat_template.jinja): use a model tuned for chat, or plain prompts"
            )
        try:
            # Plain copies: the template is code of the checkpoint's, and gets no object of ours to call methods on.
            messages = json.loads(json.dumps(list(messages)))
            template = _environment().from_string(self.chat_template)
            return template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self.special_tokens,
            )
        except (TemplateError, TypeError) as error:  # TypeError: a template adds text and None, say
            raise ValueError(f"the chat template of {self.folder} refuses these messages: {error}") from None


class Detokenizer:
    """Text piece by piece while tokens arrive. All pieces joined are `tokenizer.decode` of all tokens.

    A piece never ends in half a character: what the next token might still change is held back until then, or until
    `finish`.

    Only a short window of tokens is decoded each time. It begins with tokens whose text was returned before, because
    decoders treat the start of a text differently (some drop its first space).
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._num_old = 0  # tokens at the start of the window whose text was returned before
        self._num_given = 0  # characters of the window's text that were returned

    def add(self, token_id: int) -> str:
        """The text that is certain now that this token has come; often one token's, sometimes empty."""
        if self._tokenizer.is_special(token_id):
            return ""  # decode skips it
        self._window.append(token_id)
        if self._tokenizer.is_byte(token_id):
            return ""  # decoders of such vocabularies look at a run of bytes as a whole
        text = self._tokenizer.decode(self._window)
        certain = text.removesuffix(REPLACEMENT)  # perhaps the first bytes of a character
        piece = certain[self._num_given :]
        self._num_given += len(piece)
        if piece and certain == text:
            del self._window[: self._num_old]
            self._num_old = len(self._window)
            self._num_given = len(self._tokenizer.decode(self._window))
        return piece

    def finish(self) -> str:
        """What was held back; the text is over, and the next `add` begins another."""
        piece = self._tokenizer.decode(self._window)[self._num_given :]
        self.__init__(self._tokenizer)
        return piece


def read_eos_token_ids(folder: Path) -> tuple[int, ...]:
    """The tokens that end a text; see `Tokenizer.eos_token_ids`."""
    for name in ("generation_config.json", "config.json"):
        ids = read_json(folder / name).get("eos_token_id")
        if ids is not None:
            return (ids,) if isinstance(ids, int) else tuple(ids)
    return ()


def _special_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token`, `eos_token`, ...: each is a string, or an object with the string in `content`."""
    named = {**read_json(folder / "special_tokens_map.json"), **config}
    tokens = {
        name: value["content"] if isinstance(value, Mapping) else value
        for name, value in named.items()
        if name.endswith("_token") and not name.startswith("add_")
    }
    return {name: token for name, token in tokens.items() if isinstance(token, str)}


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):  # several by name
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}` marks the assistant's words for training; here it marks nothing."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _environment() -> ImmutableSandboxedEnvironment:
    """The surroundings that chat templates are written for: those of transformers. A template is foreign code, so it
    runs in Jinja's sandbox."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
        # Jinja's own filter escapes for HTML.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment
