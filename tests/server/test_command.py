"""`yaie serve` as a command: what it prints, whom it listens to, and how it ends."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.server.conftest import answer, request
from yaie import cli
from yaie.models.loader import TINY
from yaie.options import Parser
from yaie.server import command

LONG = {"model": "tiny", "prompt": "a=1;b=2", "max_tokens": 300, "stream": True, "ignore_eos": True}


@contextmanager
def serving(*arguments):
    """The command in a process of its own, once it listens; and its port."""
    environment = {name: value for name, value in os.environ.items() if name != command.KEY_VARIABLE}
    process = subprocess.Popen(
        [sys.executable, "-m", "yaie.cli", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line.startswith("Serving tiny at http://127.0.0.1:"), line + process.stderr.read()
        yield process, int(re.search(r":(\d+) ", line)[1])
    finally:
        process.kill()
        process.wait()


def send(port, body):
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(request("/v1/completions", json.dumps(body).encode()))
    return connection


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_open_answers_end(number):
    """Would catch answers that are cut by a restart, a server that hangs, and an exit status that alarms somebody."""
    with serving() as (process, port):
        with send(port, LONG) as connection:
            received = connection.recv(100)
            process.send_signal(number)
            received += connection.makefile("rb").read()
        assert answer(received)[2].rstrip().endswith(b"0")  # the end of what comes in chunks
        assert received.count(b"data: ") > 2
        assert b"data: [DONE]" in received
        assert process.wait(60) == 0
        with pytest.raises(ConnectionRefusedError):
            send(port, LONG)
        printed = process.stdout.read()
        assert "from openai import OpenAI" in printed
        assert "curl http://" in printed
        assert process.stderr.read() == ""


def test_a_second_signal_cuts_the_answers():
    """Would catch a traceback of the web server, and an engine that is left in the middle of a step."""
    with serving() as (process, port), send(port, {**LONG, "max_tokens": 3000}) as connection:
        connection.recv(100)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0  # of 30 s that it would wait
        assert "Traceback" not in process.stderr.read()


def test_answers_that_take_too_long_are_ended():
    """A restart cannot wait for ever."""
    with serving("--drain", "0") as (process, port), send(port, {**LONG, "max_tokens": 500}) as connection:
        connection.recv(100)
        process.terminate()
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()  # nothing has gone wrong


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from outside: give an API key"),
        (["--host", "::"], "can be reached from outside"),
        (["--host", "example.org"], "can be reached from outside"),
        (["--host", ""], "argument --host: expected a name or an address, such as 127.0.0.1, got ''"),
        (["--host", "http://127.0.0.1"], "argument --host: expected a name or an address"),
        (["--api-key", ""], "the API key must be"),
        (["--api-key", "é"], "the API key must be"),
        (["--port", "70000"], "--port: expected a whole number from 0 to 65535, got '70000'"),
        (["--max-queue", "-1"], "--max-queue: expected a whole number from 0"),
        (["--gpus", "nan"], "--gpus: expected a number from 0"),
        (["--gpus", "0"], "--gpus: has no effect without --replicas"),
        (["--replicas", "2", "--exercises"], "--exercises: runs in one process"),
        (["--tensor-parallel", "2", "--exercises"], "--exercises: runs in one process"),
    ],
)
def test_options_that_cannot_be_served(arguments, said, capsys, monkeypatch):
    """A server that anybody can use is started by mistake but once. What would be ignored is refused as well."""
    monkeypatch.delenv(command.KEY_VARIABLE, raising=False)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["serve", *arguments])
    assert said in capsys.readouterr().err


def test_a_model_that_is_not_there(capsys):
    assert cli.main(["serve", "--model", "nowhere/at/all"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_broken_chat_template_is_told_before_anybody_chats(tmp_path, capsys, monkeypatch):
    """Would catch a server that starts without a word and refuses every chat; completions need no template."""
    shutil.copytree(TINY, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": "{% if %}"}))
    monkeypatch.setattr(command, "serve", lambda *_: 0)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)  # ours stay as they are
    assert cli.main(["serve", "--port", "0", "--model", str(tmp_path)]) == 0
    assert f"the chat template of {tmp_path} is broken: Template" in capsys.readouterr().err


def test_addresses_of_this_machine_alone(monkeypatch):
    """The key may come from the environment; a name other than localhost may point anywhere."""
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost", "0.0.0.0"):
        assert command.is_loopback(host) == (host != "0.0.0.0")
    monkeypatch.setenv(command.KEY_VARIABLE, "key")
    parser = Parser()
    command.add_arguments(parser)
    command.check_options(parser, parser.parse_args(["--host", "0.0.0.0"]))


def test_the_extra_is_named_if_it_is_missing(capsys, monkeypatch):
    """An ImportError says neither what to install nor how."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.main(["serve"]) == 2
    assert "yaie[serve]" in capsys.readouterr().err


def test_an_address_that_cannot_be_had_is_said_at_once(capsys, monkeypatch):
    """Before minutes go into a model or into replicas."""
    monkeypatch.setenv(command.KEY_VARIABLE, "key")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for host, why in (("127.0.0.1", "Address already in use"), ("192.0.2.1", "Cannot assign"), ("a..b", "")):
            assert cli.main(["serve", "--host", host, "--port", port, "--model", "nowhere"]) == 2
            assert f"yaie serve: cannot listen at --host {host} --port {port}: {why}" in capsys.readouterr().err


def test_an_address_is_taken_from_the_start():
    """Would catch two servers that are started at the same time, of which one fails after it has loaded its model."""
    (first,) = command.bind("127.0.0.1", 0)
    with first, pytest.raises(OSError, match="Address already in use"):
        command.bind("127.0.0.1", first.getsockname()[1])


def test_a_client_of_a_cluster_sends_its_token(monkeypatch, tmp_path):
    """Would catch a client that has the token and is refused, as Ray's own is, and one that asks in vain for 20 s."""
    for there_is_one in (False, True):
        monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path)})
        command._as_client_of_ray()
        assert (os.environ.get("RAY_AUTH_MODE") == "token") == there_is_one
        assert os.environ["RAY_NUM_REDIS_GET_RETRIES"] == "2"
        (tmp_path / ".ray").mkdir(exist_ok=True)
        (tmp_path / ".ray/auth_token").write_text("t")
