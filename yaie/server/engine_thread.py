"""One thread that works on the engine, and an event loop that never waits for it.

The loop hands functions to the thread, which runs them between two steps; the thread hands the chunks of a step to the
loop, all in one call. So the engine is touched by one thread, and the queues of the answers by one loop: no locks.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from yaie.engine.llm import LLM
from yaie.engine.output import StreamChunk
from yaie.engine.sampling_params import SamplingParams


class Busy(Exception):
    """As many answers are open as the server takes."""


class EngineThread:
    """Steps an engine while it has work.

    limit: how many answers may be open at a time, those that wait for their turn included
    """

    def __init__(self, llm: LLM, limit: int) -> None:
        self.llm, self.limit = llm, limit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: queue.SimpleQueue[tuple[Callable[[], Any], Future]] = queue.SimpleQueue()
        self._open: dict[str, asyncio.Queue[StreamChunk]] = {}  # by request id: where its chunks go
        self._numbers = count()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """To be called in the loop that will ask for answers."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End the thread after its present step. Answers that are open get their end: "abort"."""
        await self.call(lambda: self._hand_out(self._abort(list(self._open))))
        await self.call(partial(setattr, self, "_ending", True))
        await asyncio.to_thread(self._thread.join)

    @property
    def tokenizer(self) -> Any:
        return self.llm.tokenizer

    @property
    def max_model_len(self) -> int:
        return self.llm.max_model_len

    async def stats(self) -> dict[str, Any]:
        return await self.call(self.llm.stats)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def num_open(self) -> int:
        return len(self._open)

    async def call(self, function: Callable[[], Any]) -> Any:
        """Run a function in the engine's thread between two steps; what it returns or raises."""
        return await asyncio.wrap_future(self._post(function))

    def _post(self, function: Callable[[], Any]) -> Future:
        future: Future = Future()
        self._inbox.put((function, future))
        return future

    async def answers(
        self, prompts: Sequence[list[int]], params: Sequence[SamplingParams]
    ) -> AsyncIterator[tuple[int, StreamChunk]]:
        """The chunks of several answers as they come, each with its place among `prompts`, until all have ended.

        Closing it (`contextlib.aclosing`) aborts what has not ended. Raises `Busy`, or ValueError for what can never be
        served: then none of them is.
        """
        chunks: asyncio.Queue[StreamChunk] = asyncio.Queue()
        places = {request_id: place for place, request_id in enumerate(self._admit(len(prompts), chunks))}
        try:
            await self.call(partial(self._add, list(places), prompts, params))
            num_left = len(prompts)
            while num_left:
                chunk = await chunks.get()
                num_left -= chunk.output is not None
                yield places[chunk.request_id], chunk
        finally:
            left = [request_id for request_id in places if self._open.pop(request_id, None)]  # nobody waits for these
            if left:
                self._post(partial(self._abort, left))

    def _admit(self, number: int, chunks: asyncio.Queue[StreamChunk]) -> list[str]:
        """Ids for the answers to one order, whose chunks go into one queue. All of them are open then, or none.

        Raises `Busy` if there is no room for them now, ValueError if there never is.
        """
        if number > self.limit:
            raise ValueError(f"{number} answers at a time are more than this server takes, which is {self.limit}")
        if self.num_open + number > self.limit:
            raise Busy
        ids = [f"http-{next(self._numbers)}" for _ in range(number)]
        self._open.update(dict.fromkeys(ids, chunks))
        return ids

    # --- in the loop, called by the thread ------------------------------------------------------------------

    def _deliver(self, chunks: list[StreamChunk]) -> None:
        for chunk in chunks:
            if waiting := self._open.get(chunk.request_id):
                waiting.put_nowait(chunk)
                if chunk.output:
                    del self._open[chunk.request_id]

    # --- in the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending:
            self._do_what_came(wait=not self.llm.has_unfinished_requests)
            if self.llm.has_unfinished_requests:
                self._hand_out(self._step())

    def _do_what_came(self, wait: bool) -> None:
        with suppress(queue.Empty):
            while True:
                function, future = self._inbox.get(block=wait)
                wait = False
                if future.set_running_or_notify_cancel():
                    try:
                        future.set_result(function())
                    except BaseException as error:  # for whoever asked
                        future.set_exception(error)

    def _step(self) -> list[StreamChunk]:
        """One step. What goes wrong in it ends its requests; the engine says so in their outputs."""
        try:
            return self.llm.step()
        except Exception as error:  # beyond what the engine itself expects: of all requests
            said = f"{type(error).__name__}: {error}"
            return self._abort(list(self._open), finish_reason="error", error=said)

    def _hand_out(self, chunks: list[StreamChunk]) -> None:
        self._loop.call_soon_threadsafe(self._deliver, chunks)

    def _add(self, ids: Sequence[str], prompts: Sequence[list[int]], params: Sequence[SamplingParams]) -> None:
        for request_id, prompt, each in zip(ids, prompts, params, strict=True):
            self.llm.add_request(prompt, each, request_id)

    def _abort(self, request_ids: Sequence[str], **told: Any) -> list[StreamChunk]:
        """End these answers now. Returns the last chunk of each that was not over; its output says what is `told`."""
        chunks = []
        for request_id in request_ids:
            with suppress(KeyError):  # it was never added, or has just ended
                output = replace(self.llm.abort(request_id), **told)
                chunks.append(StreamChunk(request_id, "", [], output))
        return chunks
