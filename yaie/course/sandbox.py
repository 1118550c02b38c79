"""Run a check where its crashes and loops do no harm. Not its malice: a learner's code has all the learner's rights.

Three processes take part. The notebook (or terminal) holds a `Sandbox`. It starts one server process, which imports
torch and the engine once and then waits. For each run the server forks a worker: the worker alone executes the
learner's code, so an endless loop, `os._exit`, a segmentation fault or a full memory ends the worker and nothing else.
The server keeps the worker's time, memory, output, files and processes within limits, ends all that it leaves behind,
and reports how it ended. A server is ended once a file of the engine has changed: a run sees the files as they are now.

    notebook --(one JSON line per run)--> server --fork--> worker --(files in a folder)--> server

A worker has none of the server's pipes, and each answer carries the random id of its job: what a learner's code writes
somewhere is taken for no answer, neither of this check nor of the next.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import math
import os
import resource
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from yaie.course import REPOSITORY

MEMORY_LIMIT = 1 << 30  # bytes a worker may take on top of what it starts with
OUTPUT_LIMIT = 256 << 10  # bytes a worker may print
ANSWER_LIMIT = 16 << 20  # characters of what it says of its job, which may be of many texts
FILE_LIMIT = 256 << 20  # bytes of a file that it writes: a compiler's largest are a tenth of it
PROCESS_LIMIT = 64  # processes that it has at a time: a compiler needs five
BUSY = 4  # times longer is the limit where the system does not say for how long a worker had no processor
SOURCES = (".py", ".h", ".cpp", ".cu", ".cuh")
COMPILING = "compiling"  # how files begin that are there while a worker waits for compilers
PATIENCE = 120.0  # seconds in which the server must have imported torch, and for all that a run needs besides its limit
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>


class SandboxError(RuntimeError):
    """The sandbox itself failed: not the learner's doing."""


class Sandbox:
    """Client side: starts the server when it is first needed and again when it has gone.

    Several threads may ask for runs, which are done one after the other.
    """

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)  # the server answers the parent

    def _forget(self) -> None:
        self._server: Any = None  # subprocess.Popen
        self._complaints: Any = None  # what the server wrote to its standard error
        self._files: dict[str, int] = {}  # as they were when the server was started
        self._busy = threading.RLock()

    def start(self) -> None:
        """Have the server import torch while the caller does something else."""
        with self._busy:
            files = _files()
            if self._server is not None and (self._server.poll() is not None or files != self._files):
                self.close()
            if self._server is None:
                self._files = files
                try:
                    self._complaints = tempfile.TemporaryFile()  # noqa: SIM115, closed with the server
                    self._server = subprocess.Popen(
                        [sys.executable, "-P", "-m", "yaie.course.sandbox"],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=self._complaints,
                        text=True,
                        cwd=REPOSITORY,  # the same for notebook and terminal; with -P no stray file there is imported
                        start_new_session=True,  # Ctrl-C in the notebook must not reach the server
                        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                    )
                except OSError as error:
                    raise SandboxError(f"The check server cannot be started: {error}. Run `yaie doctor`.") from error

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run one job (see `yaie.course.worker.run`) and return its report.

        The report has `end` ("finished", "timeout", "exit", "signal", "output", "processes", "answer", "server"),
        `code` (of the exit or the signal), `result` (what the job returned, when it finished), `output`,
        `current_input` and `stack`. An interrupt (Ctrl-C) stops the worker at once.
        """
        with self._busy:
            report = self._ask(job)
            if report["end"] == "server":  # the system may have needed memory; a file that does it does it again
                report = self._ask(job)
        if report["end"] == "patience":  # the time was not the function's own, so nothing is said of that
            said = "most of them for compilers or other programs, the check was stopped. Run it again."
            raise SandboxError(f"After {job['time_limit'] + PATIENCE:.0f} s, {said}")
        if report["end"] == "finished" and report["result"].get("kind") == "machinery":
            raise SandboxError(f"The check itself broke, which is not your doing:\n{report['result']['message']}")
        return report

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        self.start()
        server, limit = self._server, BUSY * job["time_limit"] + 2 * PATIENCE
        give_up = time.monotonic() + limit
        try:
            with suppress(BrokenPipeError):  # it has ended, and its other pipe says no more
                print(json.dumps({**job, "id": secrets.token_hex(8)}), file=server.stdin, flush=True)
            while not select.select([server.stdout], [], [], 0.5)[0]:
                if os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WNOHANG):
                    server.kill()
                elif time.monotonic() > give_up:
                    raise SandboxError(f"The check server gave no answer within {limit:.0f} s; run the check again.")
            if line := server.stdout.readline():
                return json.loads(line)
            code = server.wait(5)
        except BaseException:
            self.close()
            raise
        self._complaints.seek(0)
        last = "".join(self._complaints.read().decode(errors="replace").strip().splitlines(keepends=True)[-1:])
        self.close()
        if code < 0:
            return {"end": "server", "code": -code, "result": None, "output": "", "current_input": "", "stack": ""}
        said = f"The check server ended without an answer{last and f' ({last})'}; run the check again."
        raise SandboxError(f"{said} If it happens twice, run `yaie doctor`.")

    def close(self) -> None:
        """Stop the server and whatever it is running."""
        if self._server is not None:
            server, self._server = self._server, None
            with suppress(BrokenPipeError):  # half a line may wait for a server that is gone
                server.stdin.close()  # the server sees this and stops its worker first
            try:
                server.wait(5)
            except BaseException:  # it does not answer, or there was another Ctrl-C
                server.kill()
                server.wait()
            server.stdout.close()
            self._complaints.close()


def _files() -> dict[str, int]:
    """When each file that a server imports or reads was last changed. Those of lessons are read anew for each run."""
    found = {}
    for folder, folders, files in chain(os.walk(REPOSITORY / "yaie"), os.walk(REPOSITORY / "csrc")):
        folders[:] = [name for name in folders if name not in ("lessons", "__pycache__")]
        for path in (os.path.join(folder, name) for name in files if name.endswith(SOURCES)):
            with suppress(FileNotFoundError):  # an editor's, for a moment
                found[path] = os.stat(path).st_mtime_ns
    return found


# ---- the server


def _supervise(job: dict[str, Any]) -> dict[str, Any]:
    """Fork a worker for the job, keep it within its limits, and say how it ended."""
    from yaie.course.worker import get_ready

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("output", "result", "current_input", "stack"):
            (folder / each).touch()
        with suppress(Exception):  # the worker meets it again, and reports it
            get_ready(job["exercise"])
        gc.freeze()  # else a first collection in the worker writes to, and so copies, all pages that both share
        pid = os.fork()
        if pid == 0:
            _worker(job, folder)
        broken_limit = _watch(pid, folder, job["time_limit"])
        code = _end(pid)
        limits = {path: ANSWER_LIMIT if path.name == "result" else OUTPUT_LIMIT for path in folder.iterdir()}
        report = {path.name: path.read_text("utf-8", "replace")[:limit] for path, limit in limits.items()}
        end = broken_limit or ("signal" if code < 0 else "finished" if report["result"] else "exit")
        result = _answer(report["result"], job["id"])  # what was found before a limit was broken counts
        end = "answer" if end == "finished" and result is None else end
        return {**report, "end": end, "code": abs(code), "result": result}


def _answer(text: str, id: str) -> Any:
    """The result in a worker's answer; None where the worker did not write it."""
    with suppress(ValueError, TypeError, LookupError):
        answer = json.loads(text)
        return answer["result"] if answer["id"] == id else None
    return None


def _watch(pid: int, folder: Path, limit: float) -> str | None:
    """Wait until the worker ends; return which limit it broke before, if any.

    Its time is that in which it ran or slept: other programs of a busy machine do not count, nor does the compiler.

    Nothing is asked while a worker runs, so requests that become readable have ended: the client gave up or is gone.
    """
    limit *= 1 if _schedstat(os.getpid())[0] else BUSY
    pause, spent, waited = 0.001, 0.0, 0.0
    started = before = time.monotonic()
    count_at = started + 0.2
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        pause = min(1.5 * pause, 0.02)
        if select.select([sys.stdin], [], [], pause)[0]:
            return "abandoned"
        if (folder / "output").stat().st_size > OUTPUT_LIMIT:
            return "output"
        if time.monotonic() > count_at:  # not RLIMIT_NPROC, which counts all of a user's processes
            if len(_descendants()) > PROCESS_LIMIT:
                return "processes"
            count_at = time.monotonic() + 0.2
        now, waiting = time.monotonic(), _schedstat(pid)[1]
        if not any(folder.glob(f"{COMPILING}*")):
            spent += now - before - (waiting - waited)
        before, waited = now, waiting
        if now - started > limit + PATIENCE:
            return "patience"
        if spent > limit:
            os.kill(pid, signal.SIGUSR1)  # faulthandler writes where it is
            _wait_for_stack(folder / "stack")
            return "timeout"
    return None


def _schedstat(pid: int) -> tuple[float, float]:
    """Seconds for which a process ran, and was ready to run and had no processor; (0, 0) where no one counts them."""
    with suppress(OSError):
        ran, waited, _ = map(int, Path(f"/proc/{pid}/schedstat").read_bytes().split())
        return ran / 1e9, waited / 1e9
    return 0.0, 0.0


def _wait_for_stack(stack: Path) -> None:
    """Wait until the worker has written its stack: a moment, or longer on a busy machine. It may be unable to."""
    give_up, size = time.monotonic() + 2, 0
    while time.monotonic() < give_up and (size == 0 or size != stack.stat().st_size):
        size = stack.stat().st_size
        time.sleep(0.05)


def _end(pid: int) -> int:
    """End the worker, and with it what the learner's code may have started; return the worker's exit code.

    On Linux also what has left its group: orphans become the server's children, because it asked for that. One that
    belongs to another user by now is let be.
    """
    with suppress(PermissionError, ProcessLookupError):  # the group is empty already
        os.killpg(pid, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    give_up = time.monotonic() + 5
    while (left := _descendants()) and time.monotonic() < give_up:
        for each in left:
            with suppress(PermissionError, ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    return code


def _descendants() -> set[int]:
    """The processes below this one, as /proc says; none where there is no /proc."""
    parents = {}
    for pid in os.listdir("/proc") if sys.platform == "linux" else ():
        with suppress(ValueError, OSError), open(f"/proc/{pid}/stat", "rb") as stat:  # no process, or it has just ended
            parents[int(pid)] = int(stat.read().rpartition(b")")[2].split()[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def _worker(job: dict[str, Any], folder: Path) -> NoReturn:
    """The forked process: run the job, write its result, end."""
    me, leave = os.getpid(), os._exit  # before the learner's code can replace it
    os.setsid()  # a group to be killed by
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # should the server be killed, a worker that loops must not stay behind
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 16 if most == resource.RLIM_INFINITY else min(most, 1 << 16)
    output = os.open(folder / "output", os.O_WRONLY | os.O_APPEND)
    stack = os.dup2(os.open(folder / "stack", os.O_WRONLY), min(most, 1000) - 1)  # where nobody writes by chance
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(file, number)
    os.closerange(3, stack)
    os.closerange(stack + 1, most)
    sys.stdin, sys.stderr = open(0), open(2, "w", 1, "utf-8", "backslashreplace")  # noqa: SIM115, open to the end
    sys.stdout = printed = open(1, "w", 1, "utf-8", "backslashreplace")  # noqa: SIM115
    faulthandler.enable(stack, all_threads=False)
    faulthandler.register(signal.SIGUSR1, stack, all_threads=False)
    _limit_memory()
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))
    seconds = 4 * math.ceil(job["time_limit"]) + 10  # for systems without prctl
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    from yaie.course import expect, worker
    from yaie.course.language import engine_seam

    engine_seam.mark_compiling(folder / COMPILING)
    current = str(folder / "current_input")

    def announce(text: str) -> None:  # thousands of times; the learner's code may have closed a file that stays open
        file = os.open(current, os.O_WRONLY | os.O_TRUNC)
        os.write(file, text.encode("utf-8", "replace"))
        os.close(file)

    expect.announce = announce

    def answer(result: Any) -> None:
        (folder / "result").write_text(json.dumps({"id": job["id"], "result": result}), "utf-8")

    worker.note = answer
    try:
        result = worker.run(job)
    except BaseException:  # of the course itself: the learner's own are caught inside
        result = {"passed": False, "kind": "machinery", "message": traceback.format_exc(limit=-5)}
    if os.getpid() == me:  # else a copy that the learner's code has made of this process: it has no say
        with suppress(OSError, ValueError):  # they may have closed it
            printed.flush()
        answer(result)
    leave(0)


def _limit_memory() -> None:
    """Cap the address space. Where the system does not report its size or honour the cap (macOS), there is no cap.

    It is the soft limit, so that after an error it can be lifted for the report (`worker.run` does).
    """
    with suppress(OSError):
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = now + MEMORY_LIMIT
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == -1 else min(limit, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def serve() -> None:
    """Answer jobs, one JSON line each on standard input, until that ends."""
    # Nothing but answers may reach the client's pipe, whatever torch prints on import.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    import torch

    import yaie.course.worker
    import yaie.engine.llm  # noqa: F401, what checks run, imported once for all of them

    torch.set_num_threads(1)  # a thread pool would not survive the fork
    gc.collect()
    for line in sys.stdin:
        print(json.dumps(_supervise(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    serve()
