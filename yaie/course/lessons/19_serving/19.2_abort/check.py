from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from yaie.course.expect import expect, expect_error, given
from yaie.engine.output import RequestOutput
from yaie.server.engine_thread import EngineThread

# ids that are unfinished, ids to end, what is told, ids whose last chunk comes
CASES: tuple[tuple[str, list[str], dict[str, Any], list[str]], ...] = (
    ("A", ["A"], {}, ["A"]),
    ("AC", ["C"], {}, ["C"]),
    ("AC", ["B"], {}, []),
    ("AC", [], {}, []),
    ("ABC", ["C", "A"], {}, ["C", "A"]),
    ("AC", ["A", "B", "C"], {}, ["A", "C"]),
    ("C", ["A", "B", "C"], {}, ["C"]),
    ("AC", ["C"], {"finish_reason": "error", "error": "no memory"}, ["C"]),
    ("AC", ["A", "B", "C"], {"finish_reason": "error", "error": "no memory"}, ["A", "C"]),
)


class Answers:
    """What an engine has of answers: each has three tokens, and holds its pages until it ends."""

    def __init__(self, unfinished: str) -> None:
        self.unfinished = list(unfinished)

    def abort(self, request_id: str) -> RequestOutput:
        if request_id not in self.unfinished:
            raise KeyError(f"no unfinished request {request_id!r}")
        self.unfinished.remove(request_id)
        return RequestOutput(request_id, "so far", [1, 2, 3], [9], 0, "abort")


class Broken:
    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def abort(self, request_id: str) -> RequestOutput:
        raise self.error("the bookkeeping is broken")


def check() -> None:
    for unfinished, ids, told, ended in CASES:
        llm = Answers(unfinished)
        thread = EngineThread(llm, 8)
        waiting = {"D": asyncio.Queue(), **dict.fromkeys(ids[1:], asyncio.Queue())}  # the client of the first has left
        thread._open.update(waiting)
        say = "".join(f", {name}={value!r}" for name, value in told.items())
        with given(f"{list(unfinished)} are unfinished: _abort({ids}{say})"):
            chunks = thread._abort(ids, **told)
            left = [id for id in unfinished if id not in ended]
            expect(llm.unfinished, left, "answers that go on, and hold their pages")
            expect([chunk.request_id for chunk in chunks], ended, "ids of the chunks")
            expect([type(chunk).__name__ for chunk in chunks], ["StreamChunk"] * len(ended), "types of the chunks")
            expect([(chunk.text, chunk.token_ids) for chunk in chunks], [("", [])] * len(ended), "new text and tokens")
            expect([chunk.output is not None for chunk in chunks], [True] * len(ended), "whether each has its output")
            wanted = told.get("finish_reason", "abort"), told.get("error"), "so far", [1, 2, 3]
            said = [(c.output.finish_reason, c.output.error, c.output.text, c.output.token_ids) for c in chunks]
            expect(said, [wanted] * len(ended), "finish_reason, error, text and token_ids of the outputs")
            expect(list(thread._open), list(waiting), "self._open, which belongs to the loop,")
    for error in (RuntimeError, IndexError):
        with given(f"the engine raises {error.__name__} when it is to abort A: _abort(['A'])"):
            broken = EngineThread(Broken(error), 8)
            expect_error(partial(broken._abort, ["A"]), error, "the error that comes out")
