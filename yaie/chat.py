"""Talk to the engine in a terminal: `yaie chat` and `yaie generate "prompt"`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

from yaie.options import Parser, url

HELP = """\
  /help          this list
  /new           forget the chat and begin again
  /system TEXT   begin again with TEXT as the system message
  /stats         what the engine has done, and where its pages are
  /exit          leave (or Ctrl-D)
  Ctrl-C         stop the answer; the chat goes on"""


def add_arguments(parser: Parser, *, chat: bool) -> None:
    """The options of `yaie chat` (chat=True) or `yaie generate`."""
    if not chat:
        parser.add_argument("prompt", metavar="PROMPT", help="a question; with --raw, the beginning of a text")
        parser.add_argument("--raw", action="store_true", help="continue the text as it is, without chat template")
    parser.add_argument("--model", default="tiny", help="tiny, a folder, or a name on the Hub (default: tiny)")
    parser.add_argument("--system", metavar="TEXT", help="system message")
    parser.add_argument("--max-tokens", type=int, default=256, metavar="N", help="default: %(default)s")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="default: %(default)s, greedy")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="default: %(default)s")
    parser.add_argument("--top-k", type=int, default=-1, metavar="K", help="default: %(default)s, all")
    parser.add_argument("--seed", type=int, metavar="N", help="for a temperature above 0")
    parser.add_argument(
        "--backend",
        default="auto",
        help="what computes: auto, torch, cuda (kernels on a GPU), emulator (the same on the CPU, slowly)",
    )
    parser.add_argument("--exercises", action="store_true", help="run the exercises that you have solved")
    if chat:
        parser.add_argument(
            "--server", type=url, metavar="URL", help="a `yaie serve` to talk to (a key goes into YAIE_API_KEY)"
        )


def check_options(parser: Parser, options: argparse.Namespace) -> None:
    """End the command if an option was given that would be ignored."""
    if options.temperature == 0:
        parser.refuse(options, "has no effect without --temperature above 0", "top_p", "top_k", "seed")
    if options.command == "generate" and options.raw:
        parser.refuse(options, "has no effect beside --raw", "system")
    if options.command == "chat" and options.server:
        parser.refuse(options, "has no effect beside --server", "model", "backend", "exercises")


def run(options: argparse.Namespace) -> int:
    """Run `yaie chat` or `yaie generate` and return the exit status: 0, 1 (an error), 130 (interrupted)."""
    from yaie import LLM
    from yaie.engine.sampling_params import SamplingParams
    from yaie.kernels.ops import BackendError

    try:
        params = SamplingParams(
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            seed=options.seed,
            max_tokens=options.max_tokens,
        )
        if options.command == "chat" and options.server:
            from yaie.server.client import RemoteLLM

            llm = RemoteLLM(options.server, os.environ.get("YAIE_API_KEY"))
            name = f"{llm.name} at {options.server}"
        else:
            parts, name = "exercises" if options.exercises else None, options.model
            llm = LLM(options.model, backend=options.backend, parts=parts)
    except (ValueError, OSError, BackendError) as error:
        print(f"yaie {options.command}: {error}", file=sys.stderr)
        return 2
    if options.command == "chat":
        return Chat(llm, params, name, options.system).loop()
    return generate(llm, params, options)


def generate(llm: Any, params: Any, options: argparse.Namespace) -> int:
    """Answer one prompt to standard output as the text comes; what was computed goes to standard error."""
    prompt = options.prompt
    if not options.raw:
        prompt = [*_messages(options.system), {"role": "user", "content": options.prompt}]
    output = None
    with Interrupts() as interrupts:
        stream = llm.stream(prompt, params)
        for chunk in interrupts.until_pressed(stream):
            print(chunk.text, end="", flush=True)
            output = chunk.output
    print()
    if output is not None and output.error:
        print(f"yaie generate: {output.error}", file=sys.stderr)
        return 1
    return 130 if interrupts.pressed and output is None else 0


class Chat:
    """A chat: every turn sends all messages again, and the prefix cache has nearly all of them."""

    def __init__(self, llm: Any, params: Any, name: str, system: str | None = None) -> None:
        self.llm, self.params, self.name = llm, params, name
        self.messages = _messages(system)

    def loop(self) -> int:
        """Read lines until /exit or the end of input. Returns the exit status."""
        print(f"Model {self.name}. /help lists the commands, /exit or Ctrl-D leaves.")
        with suppress(ImportError):  # gives `input` a history and arrow keys; not on every system
            import readline  # noqa: F401
        while True:
            try:
                line = input("> ").strip()
            except EOFError:
                print()
                return 0
            except KeyboardInterrupt:
                print("\n(/exit or Ctrl-D leaves)")
                continue
            if line == "/exit":
                return 0
            if line.startswith("/"):
                self.command(line)
            elif line:
                try:
                    self.turn(line)
                except KeyboardInterrupt:  # pressed twice: the step itself was cut short
                    print("\n[stopped]")

    def command(self, line: str) -> None:
        """A line that begins with a slash."""
        name, _, text = line.partition(" ")
        if name == "/help":
            print(HELP)
        elif name == "/new":
            self.messages = [message for message in self.messages if message["role"] == "system"]
            print("A new chat.")
        elif name == "/system" and text.strip():
            self.messages = _messages(text.strip())
            print("A new chat with this system message.")
        elif name == "/stats":
            for key, value in self.llm.stats().items():
                print(f"  {key}: {value:.3f}" if isinstance(value, float) else f"  {key}: {value}")
        else:
            print(f"There is no {line!r}.\n{HELP}")

    def turn(self, text: str) -> None:
        """Send a message and print the answer as it comes. What was said before an interrupt stays in the chat."""
        messages = [*self.messages, {"role": "user", "content": text}]
        answer, output, start = "", None, time.perf_counter()
        first = None
        with Interrupts() as interrupts:
            for chunk in interrupts.until_pressed(self.llm.stream([messages], self.params)):
                if chunk.text:
                    first = first or time.perf_counter()
                print(chunk.text, end="", flush=True)
                answer += chunk.text
                output = chunk.output
        print(flush=True)
        if output is not None and output.error:
            print(f"[error: {output.error}]")
            return
        self.messages = [*messages, {"role": "assistant", "content": answer}]
        if output is None:
            print("[stopped]")
            return
        seconds = time.perf_counter() - start
        print(
            f"[prompt {output.num_prompt_tokens} tokens, {output.num_cached_tokens} of them cached; "
            f"first text after {(first or start) - start:.3f} s; "
            f"{output.num_output_tokens} tokens, {output.num_output_tokens / seconds:.0f}/s]"
        )


class Interrupts:
    """While active, Ctrl-C is noted instead of raised: a step is never cut in the middle. A second one raises."""

    def __init__(self) -> None:
        self.pressed = False

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: object) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True

    def until_pressed(self, stream: Iterator) -> Iterator:
        """The items of a stream, until Ctrl-C closes it (which aborts the request)."""
        with closing(stream):
            for item in stream:
                yield item
                if self.pressed:
                    return


def _messages(system: str | None) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}] if system else []
