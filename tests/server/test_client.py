"""`yaie chat --server URL`: the chat of a terminal with a served model."""

import http.client
import io
import os

import pytest

from tests.server.conftest import running, tiny
from yaie import SamplingParams, cli
from yaie.chat import Chat
from yaie.server.client import RemoteLLM


@pytest.fixture
def typed(monkeypatch):
    def type_(*lines):
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    return type_


def test_a_chat_with_a_server(served, typed, capsys):
    """Would catch an answer that differs from that of an engine of one's own, or a chat that forgets."""
    printed = []
    for where in (["--server", served.url], ["--backend", "torch"]):
        typed("2+3=", "12+34=", "/stats", "/exit")
        assert cli.main(["chat", *where]) == 0
        printed.append(capsys.readouterr().out.splitlines())
    theirs, own = printed
    assert theirs[0] == f"Model tiny at {served.url}. /help lists the commands, /exit or Ctrl-D leaves."
    assert [line.split(";")[0].replace("16 of them cached", "0 of them cached") for line in theirs[1:5]] == [
        line.split(";")[0].replace("16 of them cached", "0 of them cached") for line in own[1:5]
    ]
    assert any(line.startswith("  yaie_generated_tokens_total: ") for line in theirs)


def test_no_server_and_no_key(served, typed, capsys, monkeypatch):
    """Each is said in a line."""
    for url, said in (
        ("http://127.0.0.1:1", "no answer from http://127.0.0.1:1"),
        (f"{served.url}/v1", "404: Not Found: GET /v1/v1/models"),
    ):
        typed("/exit")
        assert cli.main(["chat", "--server", url]) == 2
        assert said in capsys.readouterr().err
    monkeypatch.setattr(RemoteLLM, "_text", lambda *_: "<html>")
    assert cli.main(["chat", "--server", served.url]) == 2
    assert "lists no models, got '<html>'; expected a server" in capsys.readouterr().err
    monkeypatch.undo()
    with running(tiny(), api_key="secret") as server:
        typed("/exit")
        assert cli.main(["chat", "--server", server.url]) == 2
        assert "401: the API key is missing or wrong" in capsys.readouterr().err
        monkeypatch.setenv("YAIE_API_KEY", "secret")
        typed("2+3=", "/exit")
        assert cli.main(["chat", "--server", server.url]) == 0
        assert "> 5\n" in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error(served, typed, capfd, monkeypatch):
    """Would catch `yaie chat --server URL | head` that blames the server."""

    def cut(*_):
        raise BrokenPipeError

    monkeypatch.setattr(Chat, "turn", cut)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    typed("2+3=")
    assert cli.main(["chat", "--server", served.url]) == 141
    assert capfd.readouterr().err == ""


CUT = [
    ([], "its end is missing"),
    ([b"<html>"], "its end is missing"),
    ([b'data: {"choices": [{"delta": {"content": "half'], "no stream of OpenAI's interface"),
    ([b'data: {"choices": [{"text": "of a completion"}]}'], "no stream of OpenAI's interface"),
    ([b'data: {"choices": [{"delta": {}}]}', http.client.IncompleteRead(b"")], "IncompleteRead"),
]


@pytest.mark.parametrize(("lines", "said"), CUT)
def test_an_answer_that_is_cut_is_an_error(served, monkeypatch, lines, said):
    """Would catch half an answer that stays in the chat as a whole one, and a chat that ends with its server."""

    def response(*_):
        for line in lines:
            if isinstance(line, Exception):
                raise line
            yield line

    llm = RemoteLLM(served.url)
    monkeypatch.setattr(llm, "_ask", response)
    chunks = list(llm.stream([[{"role": "user", "content": "a"}]], SamplingParams()))
    assert said in chunks[-1].output.error


def test_an_error_of_the_server_is_shown(typed, capsys, monkeypatch):
    """The chat goes on after it."""

    def fail(*_):
        raise RuntimeError("planted")

    with running(tiny()) as server:
        monkeypatch.setattr(server.llm.runner, "launch", fail)
        typed("2+3=", "/exit")
        assert cli.main(["chat", "--server", server.url]) == 0
        said = capsys.readouterr().out
        assert "answers 500: " in said
        assert "RuntimeError: planted" in said
