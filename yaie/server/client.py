"""A served model that `yaie chat --server URL` talks to as it would to an engine of its own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from yaie.engine.sampling_params import SamplingParams
from yaie.options import url as check_url


@dataclass(frozen=True)
class RemoteOutput:
    """What a server says of a finished answer."""

    num_prompt_tokens: int = 0
    num_output_tokens: int = 0
    num_cached_tokens: int = 0
    error: str | None = None


@dataclass(frozen=True)
class RemoteChunk:
    text: str
    output: RemoteOutput | None = None  # with the last chunk


class RemoteLLM:
    """The part of `LLM` that a chat needs, over HTTP.

    url: such as http://127.0.0.1:8000. Raises ValueError if it is none, OSError if there is no server or it refuses.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self._parts, self._headers = urlsplit(check_url(url)), {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self.name = self._model()

    def stream(self, messages: list[list[dict[str, str]]], params: SamplingParams) -> Iterator[RemoteChunk]:
        """The answer to one chat as it comes. Closing the iterator closes the connection, which aborts the answer."""
        asked = {"temperature": params.temperature, "top_p": params.top_p, "top_k": params.top_k, "seed": params.seed}
        body = {"model": self.name, "messages": messages[0], "max_tokens": params.max_tokens, **asked}
        connection = self._connect()
        try:
            try:
                response = self._ask(connection, "POST", "/v1/chat/completions", body | STREAMED)
                yield from _chunks(response)
            except (OSError, http.client.HTTPException) as error:
                yield RemoteChunk("", RemoteOutput(error=str(error)))
        finally:
            connection.close()

    def _model(self) -> str:
        text = self._text("GET", "/v1/models")
        try:
            return json.loads(text)["data"][0]["id"]
        except (ValueError, LookupError, TypeError):
            expected = "expected a server of OpenAI's interface, such as `yaie serve`"
            raise OSError(f"{self._parts.geturl()} lists no models, got {text!r:.80}; {expected}") from None

    def stats(self) -> dict[str, float]:
        """What the server counts."""
        lines = (line.rpartition(" ") for line in self._text("GET", "/metrics").splitlines())
        return {name: float(value) for name, _, value in lines if name.startswith("yaie_") and "_bucket" not in name}

    def _text(self, method: str, path: str) -> str:
        connection = self._connect()
        try:
            return self._ask(connection, method, path).read().decode()
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        return kind(self._parts.hostname, self._parts.port, timeout=600)

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any = None
    ) -> http.client.HTTPResponse:
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, self._parts.path.rstrip("/") + path, text, self._headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise OSError(f"no answer from {self._parts.geturl()}: {error}") from error
        if response.status != 200:
            raise OSError(f"{self._parts.geturl()} answers {response.status}: {_message(response.read())}")
        return response


STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def _chunks(response: http.client.HTTPResponse) -> Iterator[RemoteChunk]:
    for line in response:
        if line.startswith(b"data: {"):
            chunk = _chunk(line[6:])
            yield chunk
            if chunk.output:
                return
    raise OSError("the answer was cut: its end is missing")


def _chunk(text: bytes) -> RemoteChunk:
    """What an event says. The one with the usage is the last."""
    try:
        event = json.loads(text)
        if "error" in event:
            return RemoteChunk("", RemoteOutput(error=event["error"]["message"]))
        if event["choices"]:
            return RemoteChunk(event["choices"][0]["delta"].get("content") or "")
        usage = event["usage"]
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        return RemoteChunk("", RemoteOutput(usage["prompt_tokens"], usage["completion_tokens"], cached))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise OSError(f"the answer is no stream of OpenAI's interface: {text!r:.80}") from None


def _message(body: bytes) -> str:
    try:
        return json.loads(body)["error"]["message"]
    except (ValueError, LookupError, TypeError):  # not one of ours
        return body[:200].decode(errors="replace")
