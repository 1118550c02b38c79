"""Run a check where it can do no harm.

Three processes take part. The notebook (or terminal) holds a `Sandbox`. It starts one server process, which imports
torch once and then waits. For each run the server forks a worker: the worker alone executes the learner's code, so an
endless loop, `os._exit`, a segmentation fault or a full memory ends the worker and nothing else. The server keeps the
worker's time and output within limits and reports how it ended. The server never imports the engine, so a worker always
sees the files as they are now.

    notebook --(one JSON line per run)--> server --fork--> worker
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, TextIO

from yaie.course import REPOSITORY

MEMORY_LIMIT = 1 << 30  # bytes a worker may take on top of what it starts with
OUTPUT_LIMIT = 256 << 10  # bytes a worker may print
START_LIMIT = 120.0  # seconds in which the server must have imported torch


class SandboxError(RuntimeError):
    """The sandbox itself failed: not the learner's doing."""


class Sandbox:
    """Client side: starts the server when it is first needed and again when it has gone."""

    def __init__(self) -> None:
        self._server: Any = None  # subprocess.Popen
        self._ready = False
        self._complaints: Any = None  # what the server wrote to its standard error

    def start(self) -> None:
        """Have the server import torch while the caller does something else."""
        if self._server is not None and self._server.poll() is not None:
            self.close()
        if self._server is None:
            self._complaints = tempfile.TemporaryFile()  # noqa: SIM115, closed with the server
            self._server = subprocess.Popen(
                [sys.executable, "-P", "-m", "yaie.course.sandbox"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                text=True,
                cwd=REPOSITORY,  # the same for a notebook and a terminal; with -P no stray file there is imported
                start_new_session=True,  # Ctrl-C in the notebook must not reach the server
                env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            )

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run one job (see `yaie.course.worker.run`) and return its report.

        The report has `end` ("finished", "timeout", "exit", "signal", "output"), `result` (what the job returned, when
        it finished), `output`, `current_input`, `stack` and `seconds`. An interrupt (Ctrl-C) stops the worker at once.
        """
        self.start()
        try:
            if not self._ready:
                self._read(START_LIMIT)
                self._ready = True
            self._server.stdin.write(json.dumps(job) + "\n")
            self._server.stdin.flush()
            report = self._read(job["time_limit"] + 60)
        except BrokenPipeError as error:
            raise self._ended() from error
        except BaseException:
            self.close()
            raise
        if report["end"] == "finished" and report["result"].get("kind") == "machinery":
            raise SandboxError(f"The check itself broke, which is not your doing:\n{report['result']['message']}")
        return report

    def close(self) -> None:
        """Stop the server and whatever it is running."""
        if self._server is not None:
            server, self._server, self._ready = self._server, None, False
            with contextlib.suppress(BrokenPipeError):  # half a line may wait for a server that is gone
                server.stdin.close()  # the server sees this and stops its worker first
            try:
                server.wait(5)
            except BaseException:  # it does not answer, or there was another Ctrl-C
                server.kill()
                server.wait()
            server.stdout.close()
            self._complaints.close()

    def _read(self, limit: float) -> dict[str, Any]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._server.stdout, selectors.EVENT_READ)
            if not selector.select(limit):
                raise SandboxError(f"The check server gave no answer within {limit:.0f} s; run the check again.")
        line = self._server.stdout.readline()
        if not line:
            raise self._ended()
        return json.loads(line)

    def _ended(self) -> SandboxError:
        last = _content(self._complaints).strip().splitlines()[-1:]
        self.close()
        return SandboxError(
            "The check server ended without an answer"
            + "".join(f" ({line})" for line in last)
            + "; run the check again. If it happens twice, run `yaie doctor`."
        )


def serve(requests: TextIO, answers: TextIO) -> None:
    """Server side: answer one line per request line until the requests end."""
    import torch

    torch.set_num_threads(1)  # a thread pool would not survive the fork
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in requests:
        print(json.dumps(_supervise(json.loads(line), requests.fileno())), file=answers, flush=True)


def _supervise(job: dict[str, Any], requests_fd: int) -> dict[str, Any]:
    """Fork a worker for the job, keep it within its limits, and say how it ended."""
    output_read, output_write = os.pipe()
    with tempfile.TemporaryFile() as result, tempfile.TemporaryFile() as notes, tempfile.TemporaryFile() as stack:
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.close(output_read)
            _worker(job, output_write, result.fileno(), notes.fileno(), stack.fileno())
        os.close(output_write)
        _own_group(pid)
        deadline = started + job["time_limit"]
        output, broken_limit = _watch(pid, output_read, requests_fd, stack.fileno(), deadline)
        _, status = os.waitpid(pid, 0)
        os.close(output_read)
        answer = _content(result)
        if broken_limit:
            end = broken_limit
        elif os.WIFSIGNALED(status):
            end = "signal"
        else:
            end = "finished" if answer else "exit"
        return {
            "end": end,
            "code": os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status),
            "result": json.loads(answer) if end == "finished" else None,
            "output": output.decode(errors="replace"),
            "current_input": _content(notes),
            "stack": _content(stack),
            "seconds": time.monotonic() - started,
        }


def _own_group(pid: int) -> None:
    """Give the worker a process group to be killed by. Both sides ask for it, so neither has to wait for the other."""
    with contextlib.suppress(PermissionError, ProcessLookupError):  # it has done so, or has ended already
        os.setpgid(pid, pid)


def _content(file: Any) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _watch(pid: int, output_fd: int, requests_fd: int, stack_fd: int, deadline: float) -> tuple[bytes, str | None]:
    """Collect output until the worker ends; kill its process group at the first limit it breaks.

    Nothing is asked while a worker runs, so requests that become readable have ended: the client gave up or is gone.
    """
    output, broken = b"", None
    process = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    with selectors.DefaultSelector() as selector:
        selector.register(output_fd, selectors.EVENT_READ)
        selector.register(requests_fd, selectors.EVENT_READ)
        if process is not None:
            selector.register(process, selectors.EVENT_READ)
        while broken is None:
            left = deadline - time.monotonic()
            ready = [key.fd for key, _ in selector.select(max(0, min(left, 0.05)))]
            if output_fd in ready:
                chunk = os.read(output_fd, 1 << 16)
                output += chunk
                if not chunk:
                    selector.unregister(output_fd)  # closed, which does not mean that the worker has ended
            elif process in ready or (process is None and _has_ended(pid)):
                break
            if requests_fd in ready:
                broken = "abandoned"
            elif len(output) > OUTPUT_LIMIT:
                broken = "output"
            elif left <= 0:
                broken = "timeout"
                os.kill(pid, signal.SIGUSR1)  # faulthandler writes where it is
                _wait_for_stack(stack_fd)
    if process is not None:
        os.close(process)
    with contextlib.suppress(ProcessLookupError):  # the group is empty already
        os.killpg(pid, signal.SIGKILL)  # children that the learner's code may have started, too
    return output, broken


def _wait_for_stack(stack_fd: int) -> None:
    """Wait until the worker has written its stack: a moment, or longer on a busy machine. It may be unable to."""
    give_up, size = time.monotonic() + 2, 0
    while time.monotonic() < give_up and (size == 0 or size != os.fstat(stack_fd).st_size):
        size = os.fstat(stack_fd).st_size
        time.sleep(0.05)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _worker(job: dict[str, Any], output_fd: int, result_fd: int, notes_fd: int, stack_fd: int) -> None:
    """The forked process: run the job, write its result, end."""
    import faulthandler
    import traceback

    _own_group(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.close(output_fd)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
    faulthandler.enable(stack_fd, all_threads=False)
    faulthandler.register(signal.SIGUSR1, stack_fd, all_threads=False)
    _limit_memory()
    # Should the server be killed, a worker that loops must not stay behind.
    seconds = 4 * math.ceil(job["time_limit"]) + 10
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    from yaie.course import expect, worker

    def announce(text: str) -> None:
        data = text.encode(errors="replace")
        os.ftruncate(notes_fd, len(data))
        os.pwrite(notes_fd, data, 0)

    expect.announce = announce
    try:
        result = worker.run(job)
    except BaseException:  # of the course itself: the learner's own are caught inside
        result = {"passed": False, "kind": "machinery", "message": traceback.format_exc(limit=-5)}
    sys.stdout.flush()
    os.pwrite(result_fd, json.dumps(result).encode(), 0)
    os._exit(0)


def _limit_memory() -> None:
    """Cap the address space. Where the system does not report its size or honour the cap (macOS), there is no cap.

    It is the soft limit, so that after an error it can be lifted for the report (`worker.run` does).
    """
    try:
        with open("/proc/self/statm") as sizes:
            now = int(sizes.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = now + MEMORY_LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == -1 else min(limit, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    # Nothing but answers may reach the client's pipe, whatever torch prints on import.
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, pipe)
