"""Rank 0's hold on the other ranks: it starts them, has all compute the same, and notices when one dies.

    rank 0   a thread: send (method, arguments) to the others ; call the method of its own object ; hand out the result
    others   receive (method, arguments) ; call the method of their object ; drop the result

That is one small message for each other rank a step; what is large, they exchange in the method, by their `group`. A
call on a GPU only queues work, so the next can follow before that is done (`Ranks.wait` waits for it).

Ranks stay together only if all of them do the same calls to the end. So rank 0's part runs in a thread of its own: an
interrupt (Ctrl-C) cuts the wait for a result, never a call. An exception in a call, on whatever rank, is the end of all
of them, since it is not known how far the others got. So is the end of a process: the system closes its side of the
connection, and a thread that watches the connections sees that within milliseconds, also while rank 0 hangs in a sum
to which the dead will add nothing, or waits for a GPU that does. And when rank 0 ends, however it does, the others see
their side closed and end.

A rank may also live and not run: it was stopped, or its machine swaps. So each sends a beat every second from a thread
of its own, also while it loads weights or computes a long step; the thread that watches ends all of them once a rank
has been silent for `SILENCE`.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing import connection as connections
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from yaie.parallel.group import CollectiveError, Group, ProcessGroup
from yaie.parallel.worker import BEAT

PACKAGE = Path(__file__).parents[1]
PATIENCE = 5.0  # seconds that a rank gets to end by itself, and that the news of who is to blame gets to arrive
# Seconds without a beat after which a rank counts as gone. Its thread waits only for calls that do not give Python's
# lock back: on an H200 0.2 s at most, for CUDA's start, and 0.06 s while weights are loaded, graphs captured and NCCL
# connects. A machine that is overloaded, or imports from a slow disk, gets a few hundred times as much.
SILENCE = 60.0


class RankError(RuntimeError):
    """A rank has ended, and with it all of them; the message says which and how."""


class OneRank:
    """No other ranks, in the shape of `Ranks`: a call is a call."""

    error = None

    def __init__(self, target: Any) -> None:
        self.target = target

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.target, method)(*arguments)

    def wait(self, event: torch.cuda.Event) -> None:
        event.synchronize()

    def when_dead(self, action: Callable[[], None]) -> None:
        pass

    def close(self) -> None:
        pass


class Ranks:
    """`size` ranks, of which this process is number 0. They end with `close`, with this object, or with this process.

    make_target: called on every rank with its `Group`; gives the object whose methods `call` calls. It is pickled, so a
        class or function that a module has
    device: "cpu", or "cuda": rank r takes GPU number r

    Raises RankError if one of them cannot be started.
    """

    def __init__(self, size: int, device: str, make_target: Callable[[Group], Any]) -> None:
        self._crew = _Crew(size, device, make_target)
        self._finalizer = weakref.finalize(self, self._crew.end)
        try:
            self._crew.start()
            self._crew.do(self._crew.connect)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the target on every rank; what it returns on this one, whose device may not be done.

        RankError if a rank has ended. An exception on rank 0 is raised as it is, and the ranks have ended.
        """
        return self._crew.do(partial(self._crew.everywhere, method, arguments))

    def wait(self, event: torch.cuda.Event) -> None:
        """Until this rank's device has come to a place in its queue. RankError if a rank ends meanwhile: the device
        would wait for it for ever."""
        self._crew.do(event.synchronize)

    def when_dead(self, action: Callable[[], None]) -> None:
        """Have a thread do something once a rank has died (not when they are closed)."""
        self._crew.mourners.append(action)
        if self._crew.error:
            action()

    @property
    def error(self) -> str | None:
        """Which rank died and how; None while all live."""
        return self._crew.error

    def close(self) -> None:
        """End the other ranks. Calls are refused from now on."""
        self._finalizer()


class _Crew:
    """What the threads of `Ranks` share. It does not know its `Ranks`, which can be collected while they run."""

    def __init__(self, size: int, device: str, make_target: Callable[[Group], Any]) -> None:
        self.size, self.device, self.make_target = size, device, make_target
        self.processes: list[subprocess.Popen] = []  # of rank 1, 2, ...
        self.connections: list[connections.Connection] = []
        self.folder = tempfile.mkdtemp(prefix="yaie-ranks-")
        self.jobs: SimpleQueue[tuple[Future, Callable[[], Any]] | None] = SimpleQueue()
        self.futures: set[Future] = set()  # of the jobs that have no result yet
        self.lock = threading.Lock()  # for the futures and the error
        self.error: str | None = None  # why nothing more can be computed
        self.broken = threading.Event()  # there is an error
        self.closing = False
        self.mourners: list[Callable[[], None]] = []
        self.group: ProcessGroup | None = None
        self.target: Any = None

    # --- in the threads of whoever calls --------------------------------------------------------------------

    def start(self) -> None:
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(PACKAGE.parent), *sys.path]))
        threads = max(1, torch.get_num_threads() // self.size)
        environment["OMP_NUM_THREADS"] = str(threads)  # the ranks share the cores
        file = str(Path(self.folder, "store"))
        setup = pickle.dumps((self.size, self.device, file, self.make_target))
        for rank in range(1, self.size):
            ours, theirs = Pipe()
            with theirs:
                fd = theirs.fileno()
                # A session of its own: Ctrl-C in the terminal is for rank 0 alone.
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "yaie.parallel.worker", str(fd), str(rank)],
                    pass_fds=[fd],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            self.processes.append(process)
            self.connections.append(ours)
            with suppress(BrokenPipeError):  # it is dead already: the watching thread will say so
                ours.send_bytes(setup)
        threading.Thread(target=self.work, name="rank 0", daemon=True).start()
        threading.Thread(target=self.watch, name="watch ranks", daemon=True).start()

    def do(self, job: Callable[[], Any]) -> Any:
        """What a job returns, which the thread that computes does after all that came before it."""
        future: Future = Future()
        with self.lock:
            if self.error:
                raise RankError(self.error)
            self.futures.add(future)
            self.jobs.put((future, job))
        return future.result()

    def end(self) -> None:
        """Also called when the interpreter ends."""
        self.closing = True
        self.fail("the ranks have been closed")
        self.jobs.put(None)
        for process in self.processes:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def fail(self, error: str) -> None:
        """Nothing more is computed; whoever waits for something learns why. The first error stays."""
        with self.lock:
            self.error = self.error or error
            self.broken.set()
            for future in self.futures:
                with suppress(InvalidStateError):  # it was done just now
                    future.set_exception(RankError(self.error))
            self.futures.clear()

    def kill(self) -> None:
        """Of ranks that have lost one, none can go on."""
        for process in self.processes:
            process.kill()
            process.wait()
        if self.group and self.device == "cuda":
            self.group.abort()

    # --- in the thread that computes ------------------------------------------------------------------------

    def work(self) -> None:
        while job := self.jobs.get():
            self.compute(*job)
            del job  # it may hold a pool of pages
        for connection in self.connections:
            with suppress(OSError):  # that rank is gone
                connection.send_bytes(b"")

    def compute(self, future: Future, job: Callable[[], Any]) -> None:
        try:
            if self.broken.is_set():  # `future` knows
                return
            result = job()
        except (CollectiveError, OSError) as error:
            # Another rank is to blame, and the thread that watches them is about to say which.
            if not self.broken.wait(PATIENCE):
                self.fail(f"rank 0 failed: {error}")
                self.kill()
        except BaseException as error:
            with self.lock, suppress(InvalidStateError):
                future.set_exception(error)
            self.fail(f"rank 0 failed: {type(error).__name__}: {error}")
            self.kill()
        else:
            with self.lock, suppress(InvalidStateError):
                self.futures.discard(future)
                future.set_result(result)

    def everywhere(self, method: str, arguments: tuple) -> Any:
        message = pickle.dumps((method, arguments))
        for connection in self.connections:
            connection.send_bytes(message)
        return getattr(self.target, method)(*arguments)

    def connect(self) -> None:
        device = torch.device(self.device, 0) if self.device == "cuda" else torch.device("cpu")
        self.group = ProcessGroup(0, self.size, str(Path(self.folder, "store")), device)
        self.target = self.make_target(self.group)

    # --- in the thread that watches -------------------------------------------------------------------------

    def watch(self) -> None:
        """Wait for the first rank that ends, or is silent for too long."""
        rank, how, reported = self.first_to_go()
        if self.closing:
            return
        if reported:  # rank 0 may be about to fail in the same way; its exception says more than a text
            wait(list(self.futures), timeout=1)
        self.fail(f"rank {rank} of {self.size} (process {self.processes[rank - 1].pid}) {how}")
        self.kill()
        for action in self.mourners:
            action()

    def first_to_go(self) -> tuple[int, str, bool]:
        """Its number, what became of it, and whether it said that itself. Beats are empty, all else says what went
        wrong.
        """
        silence: dict[connections.Connection, float] = {}  # of ranks that have begun: how long
        now = time.monotonic()
        while max(silence.values(), default=0.0) < SILENCE:
            heard = connections.wait(self.connections, BEAT)
            before, now = now, time.monotonic()
            for connection in silence:  # after a longer gap it was this process that did not run
                silence[connection] += min(now - before, 2 * BEAT)
            for connection in heard:
                silence[connection], rank = 0.0, self.connections.index(connection) + 1
                try:
                    if said := connection.recv_bytes():
                        return rank, said.decode(), True
                except (EOFError, OSError):
                    return rank, _how_it_ended(self.processes[rank - 1]), False
        rank = self.connections.index(max(silence, key=silence.get)) + 1
        return rank, f"has not run for {SILENCE:.0f} s (it was stopped, or its machine is overloaded)", False


def _how_it_ended(process: subprocess.Popen) -> str:
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        return "closed its connection"
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
