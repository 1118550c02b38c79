"""A server in a thread of the test's process, so that a test can look at its engine, and break it."""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager

import openai
import pytest
import torch
import uvicorn

from yaie import LLM
from yaie.models.loader import load_model
from yaie.server import command
from yaie.server.app import Server
from yaie.server.engine_thread import EngineThread

MODEL = {}


def tiny(**options):
    """An engine of its own on the shipped model, which is loaded once."""
    if not MODEL:
        MODEL["tiny"] = load_model("tiny", torch.float32, "cpu")
    return LLM(MODEL["tiny"], backend="torch", **options)


class Running:
    """A server that listens: `url`, the `engine` behind it, and clients of it."""

    def __init__(self, server, listener):
        self.server, self.llm = server, getattr(server.engine, "llm", None)
        self.host, self.port = listener.getsockname()
        self.url = f"http://{self.host}:{self.port}"

    def client(self, key="none"):
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)

    def raw(self, data):
        """A connection on which these bytes were sent."""
        connection = socket.create_connection((self.host, self.port), timeout=60)
        connection.sendall(data)
        return connection

    def post(self, path, body, headers=""):
        """(status, headers, body) of an answer to raw bytes, or to something as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with self.raw(request(path, data, headers)) as connection:
            return answer(connection.makefile("rb").read())

    def wait_until_idle(self):
        """Wait until the engine has nothing to do; all pages are then where they belong."""
        end = time.monotonic() + 60
        while self.llm.has_unfinished_requests or self.server.engine.num_open:
            assert time.monotonic() < end, "requests are left"
            time.sleep(0.005)
        self.llm.check_integrity()
        pages = self.llm.stats()["pages"]
        assert pages["free"] + pages["evictable"] == pages["pool"]


def request(path, data, headers="", method="POST"):
    head = f"{method} {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
    return head.encode() + data


def answer(received):
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


@contextmanager
def running(llm, max_queue=256, **options):
    with listening(EngineThread(llm, llm.options.max_num_seqs + max_queue), **options) as server:
        yield server


@contextmanager
def listening(engine, **options):
    server, listener = Server(engine, "tiny", **options), socket.create_server(("127.0.0.1", 0))
    host = uvicorn.Server(command.config_for(server.app, timeout_graceful_shutdown=5))
    thread = threading.Thread(target=asyncio.run, args=(host.serve([listener]),))
    thread.start()
    try:
        while not host.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield Running(server, listener)
    finally:
        host.should_exit = True
        thread.join(60)
    assert not thread.is_alive()
    assert not server.engine.is_alive


@pytest.fixture(scope="module")
def served():
    with running(tiny()) as server:
        yield server
        server.wait_until_idle()


@pytest.fixture
def alone():
    """An engine that answers without a server."""
    return tiny()
