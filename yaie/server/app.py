"""The routes: a body becomes an order, the order a few requests of the engine, their chunks a body or a stream."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from yaie.engine.output import RequestOutput, StreamChunk
from yaie.engine.prompts import encode
from yaie.server.engine_thread import Busy, EngineThread
from yaie.server.metrics import Metrics, Stopwatch
from yaie.server.protocol import BadRequest, Order, Shape, error_body, read_order, refusal

MAX_BODY = 4 << 20  # bytes: a prompt of a million tokens has about as many
RETRY_AFTER = 1  # seconds until a client that was refused may try again
Chunks = AsyncIterator[tuple[int, StreamChunk]]


class Server:
    """An engine behind HTTP.

    engine: what answers, an `EngineThread` or a `Fleet`
    name: of the model, as clients ask for it
    api_key: what clients must send; None: nothing
    """

    def __init__(self, engine: EngineThread, name: str, api_key: str | None = None) -> None:
        self.engine, self.name, self.api_key = engine, name, api_key
        self.metrics, self.started = Metrics(), int(time.time())
        self.app = Starlette(
            routes=[
                Route("/health", self.health),
                Route("/metrics", self._for_key(self.show_metrics)),
                Route("/v1/models", self._for_key(self.models)),
                Route("/v1/models/{name:path}", self._for_key(self.model)),
                Route("/v1/completions", self._for_key(partial(self.answer, is_chat=False)), methods=["POST"]),
                Route("/v1/chat/completions", self._for_key(partial(self.answer, is_chat=True)), methods=["POST"]),
            ],
            exception_handlers={HTTPException: self._http_error, Exception: self._fault},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.engine.start()
        yield
        await self.engine.stop()

    # --- what is asked before an answer ---------------------------------------------------------------------

    def _for_key(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            sent = request.headers.get("authorization", "").encode()
            if self.api_key is not None and not hmac.compare_digest(sent, f"Bearer {self.api_key}".encode()):
                wrong = BadRequest("the API key is missing or wrong", status=401, code="invalid_api_key")
                return self._refuse(wrong, {"WWW-Authenticate": "Bearer"})
            return await handler(request)

        return handle

    def _refuse(self, error: BadRequest, headers: dict[str, str] | None = None) -> Response:
        self.metrics.refused.labels(str(error.status)).inc()
        return JSONResponse(error.body(), error.status, headers)

    async def _http_error(self, request: Request, error: Exception) -> Response:
        """No such path, or another method."""
        assert isinstance(error, HTTPException)
        said = f"{error.detail}: {request.method} {request.url.path:.100}"
        return self._refuse(BadRequest(said, status=error.status_code), dict(error.headers or {}))

    async def _fault(self, request: Request, error: Exception) -> Response:
        return JSONResponse(error_body(f"{type(error).__name__}: {error}", 500), 500)

    # --- small routes ---------------------------------------------------------------------------------------

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"}) if self.engine.is_alive else JSONResponse({"status": "ended"}, 503)

    async def show_metrics(self, request: Request) -> Response:
        return Response(
            self.metrics.text(await self.engine.stats()), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    def _model(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": self.started, "owned_by": "yaie"}

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        if request.path_params["name"] != self.name:
            return self._refuse(BadRequest(f"there is no model {request.path_params['name']!r}", "model", 404))
        return JSONResponse(self._model())

    # --- answers --------------------------------------------------------------------------------------------

    async def answer(self, request: Request, is_chat: bool) -> Response:
        try:
            order = read_order(await _body(request), is_chat, self.name, self.engine.max_model_len)
            shape = Shape(order, f"{'chatcmpl' if is_chat else 'cmpl'}-{secrets.token_hex(12)}", self.engine.tokenizer)
            chunks = self._chunks(order)
            if order.stream:
                return await self._streamed(chunks, shape)
            outputs = await _unless_gone(request, self._outputs(chunks, order))
            if failed := next((output for output in outputs if output.finish_reason in ("error", "abort")), None):
                return JSONResponse(error_body(_reason(failed), 500), 500)
            return JSONResponse(shape.whole(outputs))
        except BadRequest as error:
            return self._refuse(error)
        except Busy:
            busy = BadRequest("the server has as many requests as it takes; try again", status=429)
            return self._refuse(busy, {"Retry-After": str(RETRY_AFTER)})
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it

    async def _chunks(self, order: Order) -> Chunks:
        """The chunks of all answers of an order. Closing it aborts them."""
        if self.engine.num_open >= self.engine.limit:
            raise Busy
        param = "messages" if order.is_chat else "prompt"
        watches = [Stopwatch(self.metrics) for _ in order.choices()]  # from here on, so with the time of tokenizing
        try:  # in a thread of its own: a long text takes long
            prompts = [await asyncio.to_thread(encode, prompt, self.engine.tokenizer) for prompt in order.prompts]
            numbers, params = zip(*order.choices(), strict=True)
            async with aclosing(self.engine.answers([prompts[number] for number in numbers], params)) as chunks:
                async for place, chunk in chunks:
                    watches[place].saw(len(chunk.token_ids), chunk.output.finish_reason if chunk.output else None)
                    yield place, chunk
        except ValueError as error:
            raise refusal(error, param) from None
        except (GeneratorExit, asyncio.CancelledError):
            for watch in watches:
                watch.left()
            raise

    async def _outputs(self, chunks: Chunks, order: Order) -> list[RequestOutput]:
        async with aclosing(chunks):
            outputs = {place: chunk.output async for place, chunk in chunks if chunk.output}
        return [outputs[place] for place in sorted(outputs)]

    async def _streamed(self, chunks: Chunks, shape: Shape) -> Response:
        """A stream begins once the engine has taken the request: until then an error has a status of its own."""
        try:
            first = await anext(chunks)
        except BaseException:
            await chunks.aclose()
            raise
        if (output := first[1].output) and output.finish_reason in ("error", "abort"):
            await chunks.aclose()
            return JSONResponse(error_body(_reason(output), 500), 500)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(first, chunks, shape), media_type="text/event-stream", headers=headers)

    async def _events(self, first: tuple[int, StreamChunk], chunks: Chunks, shape: Shape) -> AsyncIterator[str]:
        async with aclosing(chunks):
            offsets: dict[int, int] = {}  # characters of each answer that have been sent
            outputs: dict[int, RequestOutput] = {}
            held: dict[int, list] = {}  # logprobs of tokens whose text is not certain yet
            async for place, chunk in _again(first, chunks):
                if chunk.output:
                    outputs[place] = chunk.output
                    if chunk.output.finish_reason in ("error", "abort"):
                        yield _event(error_body(_reason(chunk.output), 500))
                        return
                logprobs = held.setdefault(place, [])
                logprobs += chunk.logprobs
                if not (chunk.text or chunk.output):
                    continue
                reason = chunk.output.finish_reason if chunk.output else None
                is_first, offset = place not in offsets, offsets.get(place, 0)
                yield _event(shape.piece(place, chunk.text, logprobs, reason, offset, is_first))
                offsets[place], held[place] = offset + len(chunk.text), []
            if shape.order.include_usage:
                yield _event(shape.last([outputs[place] for place in sorted(outputs)]))
            yield "data: [DONE]\n\n"


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise BadRequest(f"the body has more than {MAX_BODY} bytes", status=413)
    return bytes(body)


async def _unless_gone(request: Request, answer: Awaitable[Any]) -> Any:
    """The answer; if the client leaves before, it is cancelled. Raises `ClientDisconnect`."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(answer), asyncio.ensure_future(gone())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            return tasks[0].result()
        raise ClientDisconnect
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, BadRequest, Busy):
                await task


async def _again(first: Any, rest: AsyncIterator) -> AsyncIterator:
    yield first
    async for each in rest:
        yield each


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def _reason(output: RequestOutput) -> str:
    return output.error or "the server is shutting down"
