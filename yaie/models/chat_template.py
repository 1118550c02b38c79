"""Chat templates of checkpoints, rendered in a process of their own.

A template is foreign code. Jinja's sandbox keeps it away from files and objects, but it ends neither two loops in each
other nor a string of a gigabyte; only a process with limits does. One worker serves all templates of this process. It
starts with the first one, and again after one that had to be ended. It is this file, and imports none of ours.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from typing import Any

CPU_SECONDS = 0.5  # of the processor's time, so that a busy machine ends no honest template
MEMORY_BYTES = 100 * 2**20
_lock = threading.Lock()
_worker: subprocess.Popen | None = None


def render(template: str, variables: dict[str, Any] | None) -> str:
    """The text that a template makes of its variables, as in `transformers`; without them (None) it is only read.
    ValueError: it refuses, fails, or needs more than the limits above; or the variables are not JSON."""
    try:
        question = json.dumps([template, variables])  # plain copies: no object of ours gets to the template
    except (TypeError, RecursionError) as error:
        raise ValueError(f"they are no JSON: {error}") from None
    with _lock:
        try:
            answer = _ask(question)
        except BaseException:
            _stop()  # an interrupt leaves an answer in the pipe, which would be taken for the next one's
            raise
        if not answer:
            _stop()
            raise ValueError(f"it did not end within {CPU_SECONDS} s and {MEMORY_BYTES >> 20} MB, and was ended")
    kind, text = json.loads(answer)
    if kind == "error":
        raise ValueError(text)
    return text


def check(template: str) -> None:
    """Read a template without using it. ValueError: it is none, as it stands there."""
    render(template, None)


def _ask(question: str) -> str:
    global _worker
    if _worker is not None and _worker.poll() is not None:
        _stop()  # others ended it
    if _worker is None:
        command = [sys.executable, "-P", __file__]  # -P: modules beside this file are not modules of its own
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        _worker = subprocess.Popen(command, **pipes, encoding="ascii", start_new_session=True)
    _worker.stdin.write(question + "\n")
    _worker.stdin.flush()
    return _worker.stdout.readline()


def _stop() -> None:
    global _worker
    if _worker is not None:
        _worker.kill()
        _worker.communicate()  # closes its pipes and waits for it
        _worker = None


def _forget() -> None:
    """After a fork the worker is that of the parent."""
    global _lock, _worker
    _lock, _worker = threading.Lock(), None


atexit.register(_stop)
os.register_at_fork(after_in_child=_forget)


# --- the worker -------------------------------------------------------------------------------------------------


def _environment() -> Any:
    """The surroundings that chat templates are written for: those of transformers."""
    from datetime import datetime

    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %} ... {% endgeneration %}` marks the words to train on; here it marks nothing."""

        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
        # Jinja's own filter escapes for HTML.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment


def _serve() -> None:
    """Answer questions, one a line, until there are no more."""
    import resource
    import signal
    from functools import lru_cache

    compiled = lru_cache(maxsize=8)(_environment().from_string)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends this process, whatever it is doing
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES if hard == -1 else min(MEMORY_BYTES, hard), hard))
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            template, variables = json.loads(line)
            made = compiled(template)
            text = "" if variables is None else made.render(variables)
            if len(text) > 10**6 + 4 * len(line):
                raise ValueError(f"{len(text)} characters from messages of fewer than {len(line)}")
            answer = "text", text
        except MemoryError:
            answer = "error", f"it needs more than {MEMORY_BYTES >> 20} MB"
        except Exception as error:
            answer = "error", f"{type(error).__name__}: {error}"[:500]
        print(json.dumps(answer), flush=True)
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    _serve()
