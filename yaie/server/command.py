"""`yaie serve`: a model behind HTTP until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from yaie.options import Parser, amount, host, whole

KEY_VARIABLE = "YAIE_API_KEY"
MISSING = "yaie serve needs its extra: pip install 'yaie[serve]' (in a checkout: pip install -e '.[serve]')"

EXAMPLE = """\
Serving {name} at {url}   (Ctrl-C ends it)

  curl {url}/v1/chat/completions -H 'Content-Type: application/json'{header} \\
    -d '{{"model": "{name}", "messages": [{{"role": "user", "content": "2+3="}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key={key})
  print(client.chat.completions.create(model="{name}", messages=[{{"role": "user", "content": "2+3="}}]))
"""


def add_arguments(parser: Parser) -> None:
    """The options of `yaie serve`."""
    parser.add_argument("--model", default="tiny", help="tiny, a folder, or a name on the Hub (default: tiny)")
    parser.add_argument("--host", type=host, default="127.0.0.1", help="where to listen (default: this machine alone)")
    port, queue, seconds = (partial(whole, least=0, most=most) for most in (65535, 10**6, 3600))
    parser.add_argument("--port", type=port, default=8000, help="default: %(default)s; 0 takes a free one")
    parser.add_argument("--api-key", metavar="KEY", help=f"what clients must send; better in {KEY_VARIABLE}")
    parser.add_argument(
        "--max-queue", type=queue, default=256, metavar="N", help="answers that wait; default: %(default)s"
    )
    parser.add_argument(
        "--drain", type=seconds, default=30, metavar="S", help="seconds that open answers get at the end"
    )
    parser.add_argument("--backend", default="auto", help="what computes: auto, torch, cuda, emulator")
    few, gpus = partial(whole, most=1000), partial(amount, least=0, most=1000)
    parser.add_argument("--replicas", type=few, default=1, metavar="N", help="engines, by Ray (needs yaie[cluster])")
    parser.add_argument("--gpus", type=gpus, default=0, metavar="G", help="of each replica (default: none)")
    parser.add_argument(
        "--tensor-parallel", type=few, default=1, metavar="N", help="GPUs, or processes on a CPU, that share the model"
    )
    parser.add_argument("--exercises", action="store_true", help="run the exercises that you have solved")


def check_options(parser: Parser, options: argparse.Namespace) -> None:
    """End the command if the options cannot be served together, or one of them would be ignored."""
    if options.replicas == 1:
        parser.refuse(options, "has no effect without --replicas", "gpus")
    else:
        parser.refuse(options, "runs in one process; leave --replicas out", "exercises")
    if options.tensor_parallel > 1:
        parser.refuse(options, "runs in one process; leave --tensor-parallel out", "exercises")
    key = _key(options)
    if key is not None and (not key or not key.isascii() or not key.isprintable() or " " in key):
        parser.error("the API key must be printable ASCII without spaces, and not empty")
    if not is_loopback(options.host) and key is None:
        outside = f"{options.host} can be reached from outside"
        parser.error(f"argument --host: {outside}: give an API key (--api-key or {KEY_VARIABLE})")


def _key(options: argparse.Namespace) -> str | None:
    return os.environ.get(KEY_VARIABLE) if options.api_key is None else options.api_key


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, and who knows where it points
        return False


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes. Exit status: 0; 2 for options that cannot be served."""
    try:
        import uvicorn

        from yaie.server.app import Server
    except ImportError as error:
        print(f"{MISSING}\n({error})", file=sys.stderr)
        return 2
    from yaie.kernels.ops import BackendError
    from yaie.parallel.ranks import RankError

    try:
        sockets = bind(options.host, options.port)  # before a model is loaded, which takes its time
        engine = _fleet(options) if options.replicas > 1 else _engine(options)
    except (ValueError, OSError, ImportError, BackendError, RankError) as error:
        print(f"yaie serve: {error}", file=sys.stderr)
        return 2
    try:
        engine.tokenizer.check_chat_template()
    except ValueError as error:  # completions need none
        print(f"yaie serve: {error}\nChats will be refused.", file=sys.stderr)
    key = _key(options)
    server = Server(engine, options.model, key)
    config = config_for(server.app, timeout_graceful_shutdown=options.drain)
    # uvicorn handles both, ends, and then raises them again for whoever was there before: nobody, so it ends well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return serve(uvicorn.Server, config, sockets, options, key, None if options.replicas > 1 else engine.llm.ranks)


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets at all addresses of a host. OSError names an address that cannot be had.

    They listen at once: until then another process can take the address as well. Who connects before there is a server
    waits for it.
    """
    sockets = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in found if port else found[:1]:  # each would get another free port
            sockets.append(socket.socket(family, socket.SOCK_STREAM))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sockets[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sockets[-1].bind(address)
            sockets[-1].listen()
    except (OSError, UnicodeError) as error:  # the second for what can be no name
        for each in sockets:
            each.close()
        why = error.strerror if isinstance(error, OSError) else error
        raise OSError(f"cannot listen at --host {host} --port {port}: {why}") from error
    return sockets


def config_for(app: Any, **options: Any) -> Any:
    """How uvicorn runs an app of ours. Its other parser, which it prefers where that happens to be installed, reads a
    header without end, and is busy with nothing else meanwhile."""
    import uvicorn

    async def one(scope: Any, receive: Any, send: Any) -> None:
        async def received() -> Any:
            try:
                return await receive()
            except asyncio.CancelledError:  # a second Ctrl-C cuts the answers; the engine is still to end as ever
                if scope["type"] == "lifespan":
                    return {"type": "lifespan.shutdown"}
                raise

        with suppress(asyncio.CancelledError):  # an answer that is cut when the server ends is no fault to report
            await app(scope, received, send)

    return uvicorn.Config(one, log_level="warning", lifespan="on", http="h11", ws="none", **options)


def _engine(options: argparse.Namespace) -> Any:
    from yaie import LLM
    from yaie.server.engine_thread import EngineThread

    parts = "exercises" if options.exercises else None
    llm = LLM(options.model, backend=options.backend, tensor_parallel=options.tensor_parallel, parts=parts)
    return EngineThread(llm, llm.options.max_num_seqs + options.max_queue)


def _fleet(options: argparse.Namespace) -> Any:
    if os.environ.get("RAY_ADDRESS"):
        _as_client_of_ray()
    try:
        from yaie.server.fleet import Plan, start
    except ImportError as error:
        raise ImportError(f"--replicas needs its extra: pip install 'yaie[cluster]' ({error})") from error
    print(f"Starting {options.replicas} replicas ...", file=sys.stderr, flush=True)
    each = {"backend": options.backend, "tensor_parallel": options.tensor_parallel}
    return start(Plan(options.model, options.replicas, options.gpus, options.max_queue, each))


def _as_client_of_ray() -> None:
    """Settings of someone who joins a cluster, before Ray is imported. `ray start` has the cluster ask for a token if
    there is one, and yet a client sends it only in this mode. A cluster that runs answers at once: Ray would ask for
    20 seconds, with a warning each."""
    there_is_one = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if there_is_one or Path.home().joinpath(".ray", "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")


def serve(
    server_type: Any,
    config: Any,
    sockets: list[socket.socket],
    options: argparse.Namespace,
    key: str | None,
    ranks: Any,
) -> int:
    """Run the server; says where it is once it listens. It ends if one of the `ranks` of its engine dies."""

    class Telling(server_type):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                port = self.servers[0].sockets[0].getsockname()[1]
                host = f"[{options.host}]" if ":" in options.host else options.host
                header = f' -H "Authorization: Bearer ${KEY_VARIABLE}"' if key else ""
                shown = f'os.environ["{KEY_VARIABLE}"]' if key else '"none"'
                print(
                    EXAMPLE.format(name=options.model, url=f"http://{host}:{port}", header=header, key=shown),
                    flush=True,
                )

    server = Telling(config)
    if ranks is not None:
        ranks.when_dead(partial(setattr, server, "should_exit", True))
    server.run(sockets)
    died = ranks.error if ranks is not None else None
    if died:
        print(f"yaie serve: {died}", file=sys.stderr)
    return 0 if server.started and not died else 1
