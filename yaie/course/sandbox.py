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
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, TextIO

MEMORY_LIMIT = 1 << 30  # bytes a worker may take on top of what it starts with
OUTPUT_LIMIT = 256 << 10  # bytes a worker may print
START_LIMIT = 120.0  # seconds in which the server must have imported torch


class SandboxError(RuntimeError):
    """The sandbox itself failed: not the learner's doing."""


class Sandbox:
    """Client side: starts the server when it is first needed and again when it has gone."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run one job (see `yaie.course.worker.run`) and return its report.

        The report has `end` ("finished", "timeout", "exit", "signal", "output"), `result` (what the job returned, when
        it finished), `output`, `current_input`, `stack` and `seconds`. An interrupt (Ctrl-C) stops the worker at once.
        """
        server = self._server_process()
        assert server.stdin is not None
        try:
            server.stdin.write(json.dumps(job) + "\n")
            server.stdin.flush()
            return self._read(server, job["time_limit"] + 60)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the server and whatever it is running."""
        if self._server is not None:
            server, self._server = self._server, None
            with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            for stream in (server.stdin, server.stdout):
                assert stream is not None
                stream.close()

    def _server_process(self) -> subprocess.Popen[str]:
        if self._server is not None and self._server.poll() is not None:
            self.close()
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "yaie.course.sandbox"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C in the notebook must not reach the server
                env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            )
            try:
                self._read(self._server, START_LIMIT)
            except BaseException:
                self.close()
                raise
        return self._server

    def _read(self, server: subprocess.Popen[str], limit: float) -> dict[str, Any]:
        assert server.stdout is not None
        ready, _, _ = select.select([server.stdout], [], [], limit)
        line = server.stdout.readline() if ready else ""
        if not line:
            raise SandboxError(
                "the check server ended without an answer; run the check again. If it happens twice, run `yaie doctor`."
                if ready
                else f"the check server gave no answer within {limit:.0f} s; run the check again."
            )
        return json.loads(line)


def serve(requests: TextIO, answers: TextIO) -> None:
    """Server side: answer one line per request line until the requests end."""
    import torch

    torch.set_num_threads(1)  # a thread pool would not survive the fork
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in requests:
        print(json.dumps(_supervise(json.loads(line))), file=answers, flush=True)


def _supervise(job: dict[str, Any]) -> dict[str, Any]:
    """Fork a worker for the job, keep it within its limits, and say how it ended."""
    output_read, output_write = os.pipe()
    with (
        tempfile.TemporaryFile() as result,
        tempfile.TemporaryFile() as notes,
        tempfile.TemporaryFile() as stack,
    ):
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.close(output_read)
            _worker(job, output_write, result.fileno(), notes.fileno(), stack.fileno())
        os.close(output_write)
        _own_group(pid)
        output, broken_limit = _watch(pid, output_read, started + job["time_limit"])
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


def _watch(pid: int, output_fd: int, deadline: float) -> tuple[bytes, str | None]:
    """Collect output until the worker ends; kill its process group at the first limit it breaks."""
    output, broken = b"", None
    process = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    try:
        while broken is None:
            left = deadline - time.monotonic()
            ready, _, _ = select.select(
                [output_fd, *([process] if process else [])], [], [], max(0, min(left, 0.05))
            )
            if output_fd in ready:
                chunk = os.read(output_fd, 1 << 16)
                output += chunk
                if not chunk:
                    break
            elif process in ready or (process is None and _has_ended(pid)):
                break
            if len(output) > OUTPUT_LIMIT:
                broken = "output"
            elif left <= 0:
                broken = "timeout"
                os.kill(pid, signal.SIGUSR1)  # faulthandler writes where it is
                time.sleep(0.1)
    finally:
        if process is not None:
            os.close(process)
    with contextlib.suppress(ProcessLookupError):  # the group is empty already
        os.killpg(pid, signal.SIGKILL)  # children that the learner's code may have started, too
    return output, broken


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _worker(job: dict[str, Any], output_fd: int, result_fd: int, notes_fd: int, stack_fd: int) -> None:
    """The forked process: run the job, write its result, end."""
    import faulthandler

    _own_group(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
    faulthandler.enable(stack_fd, all_threads=False)
    faulthandler.register(signal.SIGUSR1, stack_fd, all_threads=False)
    _limit_memory()

    from yaie.course import expect, worker

    def announce(text: str) -> None:
        data = text.encode()
        os.ftruncate(notes_fd, len(data))
        os.pwrite(notes_fd, data, 0)

    expect.announce = announce
    answer = json.dumps(worker.run(job)).encode()
    sys.stdout.flush()
    os.pwrite(result_fd, answer, 0)
    os._exit(0)


def _limit_memory() -> None:
    """Cap the address space. Where the system does not report its size or honour the cap (macOS), there is no cap."""
    try:
        with open("/proc/self/statm") as sizes:
            now = int(sizes.read().split()[0]) * resource.getpagesize()
    except FileNotFoundError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_LIMIT, now + MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    # Nothing but answers may reach the client's pipe, whatever torch prints on import.
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, pipe)
