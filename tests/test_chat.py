"""`yaie chat` and `yaie generate`: with the shipped model, and with Ctrl-C pressed at a chosen moment."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from yaie import cli
from yaie.chat import Chat
from yaie.cli import main
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams

SYSTEM = "alice=17;bob=42"


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM("tiny", num_blocks=64)


@pytest.fixture(autouse=True)
def ctrl_c_arrives():
    """Whoever started these tests may have told them to ignore it, as `nohup` in the background does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def chat_with(llm, lines, monkeypatch, params=None) -> tuple[Chat, int]:
    """Type these lines; a class among them is raised, as `input` would; after the last comes Ctrl-D."""
    typed = iter([*lines, EOFError])

    def read(_):
        line = next(typed)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", read)
    chat = Chat(llm, params or SamplingParams(temperature=0, max_tokens=30, seed=0), "tiny", SYSTEM)
    return chat, chat.loop()


def test_turns_build_on_each_other_and_say_what_was_cached(llm, monkeypatch, capsys):
    """Would catch a chat that forgets, and turns that compute everything again."""
    chat, status = chat_with(llm, ["bob?", "alice?"], monkeypatch)
    assert status == 0
    assert [message["content"] for message in chat.messages] == [SYSTEM, "bob?", "42", "alice?", "17"]
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[prompt")]
    assert "16 of them cached" in shown[1]


def test_commands(llm, monkeypatch, capsys):
    """Would catch a command that is sent to the model, or one that /help names and that does nothing."""
    chat, status = chat_with(llm, ["/help", "/wrong", "bob?", "/stats", "/new", "/exit", "never read"], monkeypatch)
    out = capsys.readouterr().out
    assert status == 0
    assert chat.messages == [{"role": "system", "content": SYSTEM}]
    assert "'/wrong'" in out
    assert "hit_rate" in out
    chat, _ = chat_with(llm, ["/system carol=93", "carol?"], monkeypatch)
    assert chat.messages[0]["content"] == "carol=93"
    assert chat.messages[-1]["content"] == "93"


def test_ctrl_c_stops_the_answer_and_not_the_program(llm, monkeypatch, capsys):
    """Would catch Ctrl-C that ends the program, cuts a step in the middle, or leaves the request running."""
    step, steps = llm._step, 0

    def pressing():
        nonlocal steps
        steps += 1
        if steps == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step()

    monkeypatch.setattr(llm, "_step", pressing)
    params = SamplingParams(temperature=0, max_tokens=30, ignore_eos=True)
    chat, status = chat_with(llm, ["bob?", KeyboardInterrupt, "alice?"], monkeypatch, params)
    assert status == 0
    assert steps == 3 + 30
    assert "[stopped]" in capsys.readouterr().out
    assert chat.messages[-1]["role"] == "assistant"
    assert not llm.has_unfinished_requests
    llm.check_integrity()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_twice_cuts_the_step_and_the_chat_goes_on(llm, monkeypatch, capsys):
    """Would catch a hanging step that cannot be left, and an engine that is broken afterwards."""
    run, runs = llm.runner.launch, 0

    def pressing(*arguments):
        nonlocal runs
        runs += 1
        if runs == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return run(*arguments)

    monkeypatch.setattr(llm.runner, "launch", pressing)
    chat, status = chat_with(llm, ["bob?", "alice?"], monkeypatch)
    assert status == 0
    assert "[stopped]" in capsys.readouterr().out
    assert chat.messages[-1]["content"] == "17"
    llm.check_integrity()


def test_a_message_that_is_too_long_is_said_and_forgotten(llm, monkeypatch, capsys):
    """Would catch a chat that stays unusable after one message that does not fit."""
    chat, _ = chat_with(llm, ["1+" * 4000, "bob?"], monkeypatch)
    assert "[error: " in capsys.readouterr().out
    assert [message["content"] for message in chat.messages] == [SYSTEM, "bob?", "42"]


def test_generate_prints_the_answer(capsys):
    """Would catch an answer with anything else on standard output: it should be fit for a pipe."""
    assert main(["generate", "bob?", "--system", SYSTEM]) == 0
    assert capsys.readouterr().out == "42\n"


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (BrokenPipeError, 141)])
def test_a_command_that_is_cut_says_nothing(monkeypatch, capfd, error, status):
    """Would catch a traceback of torch's import or of a checkpoint that is read, and an error because `head` has seen
    enough."""

    def cut(*_):
        raise error

    monkeypatch.setattr(cli.serving, "run", cut)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert main(["serve"]) == status
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["generate", "x", "--top-p", "0.5"], "--top-p: has no effect without --temperature above 0"),
        (["chat", "--seed", "1"], "--seed: has no effect without --temperature above 0"),
        (["generate", "x", "--raw", "--system", "s"], "--system: has no effect beside --raw"),
        (["chat", "--server", "http://127.0.0.1:1", "--model", "tiny"], "--model: has no effect beside --server"),
        (["chat", "--server", "http://127.0.0.1:1", "--exercises"], "--exercises: has no effect beside --server"),
        (["dev", "check", "1.2", "--count", "3"], "--count: has no effect but on `yaie dev mutate`"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(capsys, arguments, says):
    """Would catch an answer that is not what was asked for, and nobody says so."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert f"argument {says}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["x", "--temperature", "-1"], 2, "temperature"),
        (["x", "--model", "nowhere"], 2, "nowhere"),
        (["", "--raw"], 1, "empty"),
    ],
)
def test_generate_says_what_is_wrong(capsys, arguments, status, says):
    """Would catch a traceback, or an exit status of 0, where a script should see an error."""
    assert main(["generate", *arguments]) == status
    assert says in capsys.readouterr().err


def test_interrupted_generate_has_a_status_of_its_own(monkeypatch, capsys):
    """Would catch a script that takes half an answer for a whole one."""
    from yaie import chat

    def stream(prompt, params):
        os.kill(os.getpid(), signal.SIGINT)
        yield SimpleNamespace(text="half", token_ids=[1], output=None)

    options = SimpleNamespace(prompt="x", raw=True, system=None, command="generate")
    assert chat.generate(SimpleNamespace(stream=stream), None, options) == 130
    assert capsys.readouterr().out == "half\n"


def test_backend(capsys):
    """Would catch an option that is not passed on, and a traceback for a backend that this machine lacks."""
    assert main(["generate", "bob?", "--system", SYSTEM, "--backend", "emulator", "--max-tokens", "4"]) == 0
    assert capsys.readouterr().out == "42\n"
    assert main(["generate", "bob?", "--backend", "abacus"]) == 2
    assert "yaie generate: backend must be one of" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(["generate", "bob?", "--backend", "cuda"]) == 2
        assert "'cuda' cannot run here: torch finds no GPU" in capsys.readouterr().err
