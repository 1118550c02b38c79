"""Run a check where it can do no harm.

Three processes take part. The notebook (or terminal) holds a `Sandbox`. It starts one server process, which imports
torch once and then waits. For each run the server forks a worker: the worker alone executes the learner's code, so an
endless loop, `os._exit`, a segmentation fault or a full memory ends the worker and nothing else. The server keeps the
worker's time and output within limits and reports how it ended. The server never imports the engine, so a worker always
sees the files as they are now.

    notebook --(one JSON line per run)--> server --fork--> worker --(files in a folder)--> server
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from yaie.course import REPOSITORY

MEMORY_LIMIT = 1 << 30  # bytes a worker may take on top of what it starts with
OUTPUT_LIMIT = 256 << 10  # bytes a worker may print
PATIENCE = 120.0  # seconds in which the server must have imported torch, and for all that a run needs besides its limit


class SandboxError(RuntimeError):
    """The sandbox itself failed: not the learner's doing."""


class Sandbox:
    """Client side: starts the server when it is first needed and again when it has gone."""

    def __init__(self) -> None:
        self._server: Any = None  # subprocess.Popen
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

        The report has `end` ("finished", "timeout", "exit", "signal", "output"), `code` (of the exit or the signal),
        `result` (what the job returned, when it finished), `output`, `current_input` and `stack`. An interrupt (Ctrl-C)
        stops the worker at once.
        """
        self.start()
        limit = job["time_limit"] + PATIENCE
        try:
            self._server.stdin.write(json.dumps(job) + "\n")
            self._server.stdin.flush()
            if not select.select([self._server.stdout], [], [], limit)[0]:
                raise SandboxError(f"The check server gave no answer within {limit:.0f} s; run the check again.")
            report = json.loads(self._server.stdout.readline() or "null")
            if report is None:
                raise BrokenPipeError
        except BrokenPipeError:
            self._complaints.seek(0)
            last = self._complaints.read().decode(errors="replace").strip().splitlines()[-1:]
            self.close()
            raise SandboxError(
                "The check server ended without an answer"
                + "".join(f" ({line})" for line in last)
                + "; run the check again. If it happens twice, run `yaie doctor`."
            ) from None
        except BaseException:
            self.close()
            raise
        if report["end"] == "finished" and report["result"].get("kind") == "machinery":
            raise SandboxError(f"The check itself broke, which is not your doing:\n{report['result']['message']}")
        return report

    def close(self) -> None:
        """Stop the server and whatever it is running."""
        if self._server is not None:
            server, self._server = self._server, None
            with contextlib.suppress(BrokenPipeError):  # half a line may wait for a server that is gone
                server.stdin.close()  # the server sees this and stops its worker first
            try:
                server.wait(5)
            except BaseException:  # it does not answer, or there was another Ctrl-C
                server.kill()
                server.wait()
            server.stdout.close()
            self._complaints.close()


# ---- the server


def _supervise(job: dict[str, Any]) -> dict[str, Any]:
    """Fork a worker for the job, keep it within its limits, and say how it ended."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("output", "result", "current_input", "stack"):
            (folder / each).touch()
        alive, held_by_worker = os.pipe()  # ends when the worker does
        pid = os.fork()
        if pid == 0:
            _worker(job, folder)
        os.close(held_by_worker)
        with contextlib.suppress(PermissionError, ProcessLookupError):  # it has done so, or has ended already
            os.setpgid(pid, pid)  # a group to be killed by; both sides ask, so neither has to wait for the other
        broken_limit = _watch(pid, alive, folder, time.monotonic() + job["time_limit"])
        with contextlib.suppress(ProcessLookupError):  # the group is empty already
            os.killpg(pid, signal.SIGKILL)  # and with it children that the learner's code may have started
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(alive)
        report = {path.name: path.read_text(errors="replace")[:OUTPUT_LIMIT] for path in folder.iterdir()}
        end = broken_limit or ("signal" if code < 0 else "finished" if report["result"] else "exit")
        result = json.loads(report["result"]) if end == "finished" else None
        return {**report, "end": end, "code": abs(code), "result": result}


def _watch(pid: int, alive: int, folder: Path, deadline: float) -> str | None:
    """Wait until the worker ends; return which limit it broke before, if any.

    Nothing is asked while a worker runs, so requests that become readable have ended: the client gave up or is gone.
    """
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([alive, sys.stdin], [], [], max(0, min(left, 0.05)))
        if sys.stdin in ready:
            return "abandoned"
        if (folder / "output").stat().st_size > OUTPUT_LIMIT:
            return "output"
        if left <= 0:
            os.kill(pid, signal.SIGUSR1)  # faulthandler writes where it is
            _wait_for_stack(folder / "stack")
            return "timeout"
        if ready:  # it is about to end, or has closed what it cannot know of
            time.sleep(0.001)
    return None


def _wait_for_stack(stack: Path) -> None:
    """Wait until the worker has written its stack: a moment, or longer on a busy machine. It may be unable to."""
    give_up, size = time.monotonic() + 2, 0
    while time.monotonic() < give_up and (size == 0 or size != stack.stat().st_size):
        size = stack.stat().st_size
        time.sleep(0.05)


def _worker(job: dict[str, Any], folder: Path) -> NoReturn:
    """The forked process: run the job, write its result, end."""
    os.setpgid(0, 0)
    output = os.open(folder / "output", os.O_WRONLY | os.O_APPEND)
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
    stack = open(folder / "stack", "w")  # noqa: SIM115, open to the end
    faulthandler.enable(stack, all_threads=False)
    faulthandler.register(signal.SIGUSR1, stack, all_threads=False)
    _limit_memory()
    # Should the server be killed, a worker that loops must not stay behind.
    seconds = 4 * math.ceil(job["time_limit"]) + 10
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    from yaie.course import expect, worker

    expect.announce = lambda text: (folder / "current_input").write_text(text, errors="replace")
    try:
        result = worker.run(job)
    except BaseException:  # of the course itself: the learner's own are caught inside
        result = {"passed": False, "kind": "machinery", "message": traceback.format_exc(limit=-5)}
    sys.stdout.flush()
    (folder / "result").write_text(json.dumps(result))
    os._exit(0)


def _limit_memory() -> None:
    """Cap the address space. Where the system does not report its size or honour the cap (macOS), there is no cap.

    It is the soft limit, so that after an error it can be lifted for the report (`worker.run` does).
    """
    with contextlib.suppress(OSError):
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = now + MEMORY_LIMIT
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == -1 else min(limit, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    # Nothing but answers may reach the client's pipe, whatever torch prints on import.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(1)  # a thread pool would not survive the fork
    for line in sys.stdin:
        print(json.dumps(_supervise(json.loads(line))), file=answers, flush=True)
