"""Which operation of an engine ran where: counted while it runs, shown as a board.

    with backends.watch(llm) as ran:
        llm.generate("1+1=")
    ran.board()

Operations that are replayed from a CUDA graph are not called again, so on a GPU the counts are those of the capture and
of the steps without a graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from yaie.course.show import Table
from yaie.kernels import api, native


class Ran:
    """Calls of operations, and the files of `csrc/` in which their kernels were looked up.

    Stands in the place of an engine's `operations` while it watches.
    """

    def __init__(self, operations: api.Unchecked) -> None:
        self.operations, self.backend = operations, operations.backend
        self.calls: Counter[str] = Counter()
        self.files: dict[str, set[str]] = {}
        self.yours: set[str] = set()  # files with a function of the learner's
        self._running = ""

    def __getattr__(self, operation: str) -> Callable:
        function = getattr(self.operations, operation)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[operation] += 1
            self._running = operation
            try:
                return function(*args, **kwargs)
            finally:
                self._running = ""

        return counted

    def saw(self, file: str, text: str | None) -> None:
        """A kernel of `csrc/<file>` is wanted; `text` is not None where a learner's function is in it."""
        self.files.setdefault(self._running, set()).add(file)
        if text is not None:
            self.yours.add(file)

    def board(self) -> Table:
        """For each operation that was called: how often, on what, from which file, and whose it is."""
        rows = []
        for operation in self.calls:  # in the order of their first call
            files = sorted(self.files.get(operation, ()))
            yours = any(file in self.yours for file in files)
            where = ", ".join(f"csrc/{file}" for file in files)
            runs_on = ("your kernel" if yours else "YAIE's kernel") if files else "torch"
            if operation == "plan_attention":
                runs_on = "the CPU"  # it decides who reads which pages, and computes nothing
            tone = "good" if yours else "neutral"
            rows.append((tone, (f"`{operation}`", f"{self.calls[operation]}", runs_on, where)))
        computing = [operation for operation in self.calls if operation != "plan_attention"]
        kernels = sum(bool(self.files.get(operation)) for operation in computing)
        return Table(
            f"Who computes: backend {self.backend}",
            ("Operation", "Calls", "Runs on", "File"),
            rows,
            f"{kernels} of {len(computing)} operations that compute ran on kernels of csrc/.",
        )


@contextmanager
def watch(llm: Any) -> Iterator[Ran]:
    """Count the calls of the operations of an engine (`yaie.LLM`) while this lasts."""
    runner, load = llm.runner, native._load
    ran = Ran(runner.operations)

    def watching_load(name: str, backend: str, check: bool, text: str | None, limit: float) -> Any:
        ran.saw(name, text)
        return load(name, backend, check, text, limit)

    holders = [holder for holder in (runner, runner.graphs) if holder is not None]
    native._load = watching_load
    for holder in holders:
        holder.operations = ran
    try:
        yield ran
    finally:
        native._load = load
        for holder in holders:
            holder.operations = ran.operations
