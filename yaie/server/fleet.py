"""Several engines behind one address: replicas of a model as deployments of Ray Serve. Needs the extra `yaie[cluster]`.

Ray starts the replicas, asks after their health and starts them again. The front, which speaks HTTP, is this process
(`start`: `yaie serve --replicas`, with replicas on this machine, or on the cluster at RAY_ADDRESS), or one more
deployment of the cluster (`application`, for a file such as `cluster.yaml` beside this). What is ours is the choice of
the replica (`router`), and what becomes of requests whose replica dies: one that has shown nothing yet goes to another
replica, one that has ends with an error that says so.

Ray may start any number of replicas of a deployment, but not say which of them gets a request: so each replica is a
deployment of its own.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.exceptions import AuthenticationError, RayActorError, RayTaskError
from ray.serve.exceptions import RayServeException
from starlette.requests import Request
from starlette.responses import Response

from yaie.engine.llm import LLM, check_options
from yaie.engine.output import RequestOutput, StreamChunk
from yaie.engine.sampling_params import SamplingParams
from yaie.engine.scheduler import Limits
from yaie.kernels import checks
from yaie.models.config import ModelConfig
from yaie.models.loader import find_folder
from yaie.models.tokenizer import Tokenizer
from yaie.parallel.shards import local_config
from yaie.server.app import Server
from yaie.server.command import KEY_VARIABLE
from yaie.server.engine_thread import Busy, EngineThread
from yaie.server.router import Router

DIED = (RayActorError, RayServeException)
PAUSE = 0.5  # seconds between two looks at whether a replica is back


class Replica:
    """An engine with its thread in a process of Ray's."""

    def __init__(self, model: str, options: dict[str, Any]) -> None:
        self.engine, self.is_started = EngineThread(LLM(model, **options), limit=10**6), False

    def _started(self) -> EngineThread:
        if not self.is_started:  # in the loop that asks for answers
            self.is_started = True
            self.engine.start()
        return self.engine

    async def answers(self, prompt: list[int], params: SamplingParams) -> AsyncIterator[StreamChunk]:
        async with aclosing(self._started().answers([prompt], [params])) as chunks:
            async for _, chunk in chunks:
                yield chunk

    async def stats(self) -> dict[str, Any]:
        return await self._started().stats()

    async def shape(self) -> tuple[int, int, int]:
        """Pages of its pool, their size, and the most tokens of a prompt with its answer."""
        llm = self.engine.llm
        return llm.num_blocks, llm.options.block_size, llm.max_model_len

    def check_health(self) -> None:
        """Ray starts a replica again that raises here."""
        if self.is_started and not self.engine.is_alive:
            raise RuntimeError("the thread of the engine has ended")
        if self.engine.llm.ranks.error:
            raise RuntimeError(self.engine.llm.ranks.error)


@dataclass(frozen=True)
class Plan:
    """What a fleet consists of. ValueError or TypeError naming what could never work."""

    model: str = "tiny"  # a folder or a name on the Hub, which every machine of the cluster can read
    replicas: int = 2
    gpus: float = 0  # of each replica
    max_queue: int = 256  # answers that wait
    options: dict[str, Any] = field(default_factory=dict)  # of each engine: keywords of `LLM`

    def __post_init__(self) -> None:
        checks.require(isinstance(self.model, str) and self.model, "model must be a folder or a name", self.model)
        checks.integer("replicas", self.replicas, 1)
        checks.integer("max_queue", self.max_queue, 0)
        part = checks.number("gpus", self.gpus, 0)
        checks.require(isinstance(self.options, dict), "options must be a mapping of names to values", self.options)
        checks.require("model" not in self.options, "the model of a fleet is its own field, none of its options")
        # Whether a device is there, only the machine of a replica can say.
        options = {name: value for name, value in self.options.items() if name not in ("dtype", "device")}
        size = check_options(options).tensor_parallel
        of_each = "0, or a part of one GPU" if size == 1 else f"0, or {size}: one for each rank"
        checks.require(part <= 1 if size == 1 else part in (0, size), f"gpus must be {of_each}", self.gpus)
        if size > 1:
            local_config(ModelConfig.from_folder(find_folder(self.model)), size)

    @property
    def limit(self) -> int:
        """How many answers may be open at a time, in all."""
        return self.replicas * self.options.get("max_num_seqs", Limits.max_num_seqs) + self.max_queue

    def deployments(self) -> dict[str, serve.Application]:
        """The replicas, by their names."""
        made = serve.deployment(Replica).options(
            ray_actor_options={"num_cpus": 0, "num_gpus": self.gpus},
            max_ongoing_requests=self.limit,
            health_check_period_s=2,
        )
        names = [f"replica-{number}" for number in range(self.replicas)]
        return {name: made.options(name=name).bind(self.model, self.options) for name in names}


class Fleet:
    """What a `Server` asks for answers, instead of an `EngineThread`: replicas, and a router in front of them.

    handles, shape: of the replicas, by their names, and what `Replica.shape` says
    end: takes the replicas down; None: who started them does
    """

    def __init__(
        self,
        plan: Plan,
        handles: Mapping[str, serve.handle.DeploymentHandle],
        shape: tuple[int, int, int],
        end: Callable[[], None] | None = None,
    ) -> None:
        self.limit, self.num_open = plan.limit, 0
        self.tokenizer = Tokenizer(find_folder(plan.model))
        self._handles, self._end = handles, end
        num_pages, page_size, self.max_model_len = shape
        self.router = Router(page_size, num_pages)
        for name in handles:
            self.router.add(name)
        self._returning: set[asyncio.Task] = set()

    def start(self) -> None:
        """Nothing: the replicas run already."""

    async def stop(self) -> None:
        for task in self._returning:
            task.cancel()
        self.router.replicas.clear()
        if self._end is not None:
            await asyncio.to_thread(self._end)

    @property
    def is_alive(self) -> bool:
        return bool(self.router.replicas)

    async def stats(self) -> dict[str, Any]:
        """The sums of what the replicas count that are there."""
        asked = [self._handles[name].stats.remote() for name in self.router.replicas]
        all_stats = [each for each in await asyncio.gather(*asked, return_exceptions=True) if isinstance(each, dict)]
        total: dict[str, Any] = {}
        for stats in all_stats:
            for name, value in stats.items():
                if isinstance(value, dict):
                    old = total.get(name, {})
                    total[name] = {key: old.get(key, 0) + number for key, number in value.items()}
                else:
                    total[name] = total.get(name, 0) + value
        if total:
            total["hit_rate"] = total["cached_tokens"] / max(1, total["prompt_tokens"])
        return total

    async def answers(
        self, prompts: Sequence[list[int]], params: Sequence[SamplingParams]
    ) -> AsyncIterator[tuple[int, StreamChunk]]:
        """As `EngineThread.answers`."""
        if self.num_open + len(prompts) > self.limit or not self.router.replicas:
            raise Busy
        self.num_open += len(prompts)
        chunks: asyncio.Queue[tuple[int, StreamChunk | Exception]] = asyncio.Queue()
        tasks = [
            asyncio.create_task(self._answer(place, prompt, each, chunks))
            for place, (prompt, each) in enumerate(zip(prompts, params, strict=True))
        ]
        try:
            num_left = len(prompts)
            while num_left:
                place, chunk = await chunks.get()
                if isinstance(chunk, Exception):
                    raise chunk
                num_left -= chunk.output is not None
                yield place, chunk
        finally:
            self.num_open -= len(prompts)
            for task in tasks:
                task.cancel()

    async def _answer(self, place: int, prompt: list[int], params: SamplingParams, chunks: asyncio.Queue) -> None:
        """Put the chunks of one answer into the queue; an exception if it can have none."""
        shown = False
        while True:
            try:
                name = self.router.choose(prompt).replica
            except LookupError:
                return await chunks.put((place, Busy()))
            self.router.sent(name, prompt)
            stream = self._handles[name].options(stream=True).answers.remote(prompt, params)
            try:
                async for chunk in stream:
                    shown = True
                    await chunks.put((place, chunk))
                return None
            except RayTaskError as error:  # of the engine: this request cannot be served anywhere
                return await chunks.put((place, ValueError(str(error.cause))))
            except DIED:
                self._lost(name)
                if shown:
                    said = f"{name} died while it answered"
                    output = RequestOutput("", "", [], prompt, 0, "error", error=said)
                    return await chunks.put((place, StreamChunk("", "", [], output)))
            finally:
                self.router.ended(name)
                with suppress(*DIED):
                    stream.cancel()

    def _lost(self, name: str) -> None:
        """A replica is gone: nothing is sent there until it answers again."""
        if name in self.router.replicas:
            self.router.remove(name)
            task = asyncio.create_task(self._await_return(name))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

    async def _await_return(self, name: str) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            with suppress(*DIED):
                await self._handles[name].stats.remote()
                return self.router.add(name)


# --- who starts a fleet -------------------------------------------------------------------------------------


def start(plan: Plan) -> Fleet:
    """A fleet whose front is this process. Its replicas run here, or on the cluster at RAY_ADDRESS, and end with it.

    OSError: there is no such model. ValueError: this machine has too few GPUs. ConnectionError: there is no such
    cluster, or it lets nobody in without its token. ChildProcessError: a replica could not start, or Ray itself; it
    names the reason.
    """
    find_folder(plan.model)  # if there is none, Ray need not be started
    with _without_grammar():
        return _start(plan, os.environ.get("RAY_ADDRESS"))


@contextmanager
def _without_grammar() -> Iterator[None]:
    """Have processes that are started meanwhile do without a package that checks international URLs. It comes with
    JupyterLab, is loaded by whatever imports Ray, which never calls it, and builds a grammar then: most of what that
    import takes, in each of the five processes for which Ray waits 15 s and no longer.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rfc3987_syntax.py").write_text("raise ImportError\n")  # as if it were not installed
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, before)))
        try:
            yield
        finally:
            del os.environ["PYTHONPATH"]
            os.environ.update({} if before is None else {"PYTHONPATH": before})


def _start(plan: Plan, address: str | None) -> Fleet:
    try:
        ray.init(
            address or "local", include_dashboard=None if address else False, log_to_driver=False, logging_level="error"
        )
    except (ConnectionError, AuthenticationError) as error:
        token = "its token is missing here (RAY_AUTH_TOKEN, or a copy of ~/.ray/auth_token from where it was started)"
        raise ConnectionError(f"RAY_ADDRESS={address}: no cluster answers there, or {token}") from error
    except Exception as error:  # Ray has no class of its own for it
        slow = "its processes took longer than the 15 s that it gives them; try again when this machine has less to do"
        why = slow if "timed out during startup" in str(error) else error
        raise ChildProcessError(f"Ray could not start here: {why}") from error
    if not address:
        serve.start(proxy_location="Disabled")  # HTTP is ours; on a cluster others may have theirs
    own = secrets.token_hex(4)  # others may have a fleet on the same cluster
    names = {name: f"yaie-{own}-{name}" for name in plan.deployments()}

    def end() -> None:
        for name in names.values():
            serve.delete(name)
        if not address:
            serve.shutdown()
        ray.shutdown()

    try:
        if not address:  # Ray would wait for more; a cluster may get them
            there, needed = ray.cluster_resources().get("GPU", 0), plan.replicas * plan.gpus
            what = f"{plan.replicas} replicas with gpus={plan.gpus:g} need {needed:g} GPUs; this machine has {there:g}"
            checks.require(needed <= there, what)
        made = plan.deployments().items()
        handles = {name: _run(each, name, names[name]) for name, each in made}
        return Fleet(plan, handles, handles["replica-0"].shape.remote().result(), end)
    except BaseException:
        end()
        raise


def _run(replica: serve.Application, name: str, application: str) -> serve.handle.DeploymentHandle:
    try:
        return serve.run(replica, name=application, route_prefix=None)
    except RuntimeError as error:  # it says that it failed, and its status why: the traceback of the replica
        why = serve.status().applications[application].deployments[name].message.strip()
        raise ChildProcessError(f"{name} could not start: {why.splitlines()[-1] if why else error}") from error


class Front:
    """The server of a fleet as a deployment of its own."""

    async def __init__(self, plan: Plan, handles: Mapping[str, serve.handle.DeploymentHandle]) -> None:
        key = os.environ.get(KEY_VARIABLE)
        checks.require(bool(key), f"a cluster can be reached from outside: {KEY_VARIABLE} must be set where it runs")
        self.server = Server(Fleet(plan, handles, await handles["replica-0"].shape.remote()), plan.model, key)

    async def __call__(self, request: Request) -> Response:
        return _Answer(self.server.app)


class _Answer(Response):
    """What an app answers, once it is asked to send it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def application(args: dict[str, Any]) -> serve.Application:
    """What `import_path` of a configuration file names; `args` are the fields of `Plan`, which names a wrong one."""
    plan = Plan(**args)
    front = serve.deployment(Front).options(name="front", max_ongoing_requests=plan.limit + 64)
    return front.bind(plan, plan.deployments())
