"""Replicas on Ray Serve: the tokens of an engine alone, prompts where their prefix lies, and deaths that are survived.

One fleet for all tests: it takes a while to start.
"""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import openai
import pytest
import yaml

from tests.server.conftest import listening, tiny
from yaie import SamplingParams
from yaie.engine.engine import Options

LONG = {"model": "tiny", "prompt": "a=1;b=2", "max_tokens": 400, "temperature": 0, "stream": True}


@pytest.fixture(scope="module")
def fleet():
    from yaie.server.fleet import Plan, start

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        with listening(start(Plan(options={"backend": "torch", "device": "cpu"}))) as server:
            yield server


def process_of(name):
    """The number of a replica's process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if re.match(rb"ray::ServeReplica:yaie-[0-9a-f]+-%s:" % name.encode(), path.read_bytes()):
                return int(path.parent.name)
        except OSError:
            continue
    return None


def test_answers_are_those_of_an_engine_alone(fleet):
    """Whichever replica gives them, streamed or not, several at a time; an error is the engine's."""
    client, alone = fleet.client(), tiny()
    for number in range(6):
        params = {"temperature": 1.2, "seed": number, "max_tokens": 8}
        expected = alone.generate(f"x={number};y=", SamplingParams(**params))[0]
        whole = client.completions.create(model="tiny", prompt=f"x={number};y=", **params)
        events = client.completions.create(model="tiny", prompt=f"x={number};y=", stream=True, **params)
        assert whole.choices[0].text == "".join(event.choices[0].text for event in events) == expected.text
        assert whole.usage.prompt_tokens == len(expected.prompt_token_ids)
    several = client.completions.create(model="tiny", prompt=["a=", "b="], n=2, temperature=0, max_tokens=3)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    with pytest.raises(openai.BadRequestError, match="leaves no room"):
        client.completions.create(model="tiny", prompt=[5] * 10_000)
    with fleet.raw(b"GET /metrics HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n") as connection:
        assert b"yaie_generated_tokens_total" in connection.makefile("rb").read()


def test_the_router_finds_more_than_chance(fleet, monkeypatch):
    """Eight beginnings, in an order that chance mixes: with two replicas, chance computes each beginning twice."""
    client, rng = fleet.client(), random.Random(1)

    def found(first):
        beginnings = [[first + number] * 64 for number in range(8)]
        prompts = [[*beginning, first + 50 + turn, 7] for turn in range(3) for beginning in beginnings]
        usages = [
            client.completions.create(model="tiny", prompt=prompt, max_tokens=1).usage.prompt_tokens_details
            for prompt in prompts
        ]
        return sum(usage.cached_tokens for usage in usages) / sum(map(len, prompts))

    by_router = found(100)
    router = fleet.server.engine.router
    with monkeypatch.context() as patch:
        choose = router.choose
        patch.setattr(
            router, "choose", lambda tokens: type(choose(tokens))(rng.choice(list(router.replicas)), 0), raising=True
        )
        by_chance = found(300)
    assert by_router > 0.6
    assert by_router > by_chance + 0.05


def test_a_replica_that_dies(fleet):
    """What it has begun ends with an error that says so; all else is answered, and it comes back."""
    client, router = fleet.client(), fleet.server.engine.router
    client.completions.create(**{**LONG, "stream": False, "max_tokens": 2})
    name = router.choose(fleet.server.engine.tokenizer.encode(LONG["prompt"])).replica
    stream = client.completions.create(**LONG, extra_body={"ignore_eos": True})
    next(iter(stream))
    os.kill(process_of(name), signal.SIGKILL)
    with pytest.raises(openai.APIError, match=f"{name} died while it answered"):
        list(stream)
    answers = [client.completions.create(model="tiny", prompt=f"{n}=", temperature=0, max_tokens=2) for n in range(4)]
    assert all(answer.choices for answer in answers)
    end = time.monotonic() + 120
    while name not in router.replicas:
        assert time.monotonic() < end, "it has not come back"
        time.sleep(0.1)
    assert len(router.replicas) == 2


def test_a_request_that_has_shown_nothing_is_sent_elsewhere(fleet):
    """Its replica dies before the router knows: the client notices nothing."""
    client, router = fleet.client(), fleet.server.engine.router
    prompt = "moved=1;" * 10
    client.completions.create(model="tiny", prompt=prompt, temperature=0, max_tokens=2)
    name = router.choose(fleet.server.engine.tokenizer.encode(prompt)).replica
    os.kill(process_of(name), signal.SIGKILL)
    expected = tiny().generate(prompt, SamplingParams(temperature=0, max_tokens=4))[0].text
    got = client.completions.create(model="tiny", prompt=prompt, temperature=0, max_tokens=4)
    assert got.choices[0].text == expected


def test_a_replica_that_cannot_start_says_why(monkeypatch):
    """Would catch a fleet that ends with "failed to update", where Ray's status has the traceback of the replica."""
    from yaie.server import fleet

    def run(*_, **__):
        raise RuntimeError("Deploying application yaie failed: Failed to update the deployments ['replica-0'].")

    message = "The deployment failed to start 3 times. Error:\n  File ...\nBackendError: torch finds no GPU\n\n"
    told = SimpleNamespace(applications={"yaie": SimpleNamespace(deployments={"replica-0": SimpleNamespace()})})
    monkeypatch.setattr(fleet, "serve", SimpleNamespace(run=run, status=lambda: told))
    for said, expected in ((message, "BackendError: torch finds no GPU"), ("", "Deploying application yaie failed")):
        told.applications["yaie"].deployments["replica-0"].message = said
        with pytest.raises(ChildProcessError, match=f"replica-0 could not start: {expected}"):
            fleet._run(None, "replica-0", "yaie")


def test_a_machine_that_is_too_busy_for_ray_is_told(monkeypatch):
    """Would catch Ray's own words, which blame it for a failure that it does not have."""
    from yaie.server import fleet

    def init(*_, **__):
        raise Exception("The current node timed out during startup. This could happen because some of the raylet ...")

    monkeypatch.setattr(fleet.ray, "init", init)
    with pytest.raises(ChildProcessError, match="Ray could not start here: its processes took longer than the 15 s"):
        fleet.start(fleet.Plan())


def test_processes_of_ray_start_without_the_grammar(monkeypatch, tmp_path):
    """Would catch a start that takes three times as long where JupyterLab is installed, and a name that has changed."""
    from yaie.server import fleet

    (tmp_path / "rfc3987_syntax.py").write_text("is_valid_syntax = None")  # the real one need not be installed
    command = [sys.executable, "-c", "import jsonschema, sys; print('rfc3987_syntax' in sys.modules)"]
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with fleet._without_grammar():
        assert subprocess.check_output(command) == b"False\n"
    assert "PYTHONPATH" not in os.environ
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with fleet._without_grammar():
        assert subprocess.check_output(command) == b"False\n"
    assert subprocess.check_output(command) == b"True\n"


def test_a_replica_that_lost_a_rank_is_started_again():
    """Would catch one that answers every request with an error, for ever."""
    from yaie.server.fleet import Replica

    replica, ranks = object.__new__(Replica), SimpleNamespace(error=None)
    replica.engine, replica.is_started = SimpleNamespace(is_alive=True, llm=SimpleNamespace(ranks=ranks)), True
    replica.check_health()
    ranks.error = "rank 1 of 2 was killed"
    with pytest.raises(RuntimeError, match="rank 1 of 2"):
        replica.check_health()


def test_the_file_for_a_cluster(monkeypatch):
    """Would catch an argument in it that nobody reads, one that Ray does not know, and a server without a key."""
    from ray.serve.schema import ServeDeploySchema

    from yaie.server import fleet

    path = Path(fleet.__file__).with_name("cluster.yaml")
    (described,) = ServeDeploySchema(**yaml.safe_load(path.read_text())).applications
    module, _, name = described.import_path.partition(":")
    assert getattr(sys.modules[module], name) is fleet.application
    fleet.application(described.args)
    Options(**described.args["options"])
    with pytest.raises(TypeError, match="replica_count"):
        fleet.application({"replica_count": 2})
    with pytest.raises(TypeError, match="no option max_num_seq, 3;"):
        fleet.application({"options": {"max_num_seq": 64, 3: 4}})
    wrong = {"replicas": 0, "max_queue": -1, "model": "", "gpus": 1.5, "options": [1]}
    for name, value in [*wrong.items(), ("gpus", -1), ("gpus", float("nan")), ("gpus", 2)]:  # one rank uses one
        with pytest.raises(ValueError, match=f"{name} must be"):
            fleet.application({name: value})
    for name, value in {"max_num_seqs": 0, "tensor_parallel": 3, "backend": "cda"}.items():
        with pytest.raises(ValueError, match=f"{name} must"):
            fleet.application({"options": {name: value}})
    monkeypatch.delenv("YAIE_API_KEY", raising=False)
    with pytest.raises(ValueError, match="YAIE_API_KEY must be set where it runs"):
        asyncio.run(fleet.Front.__init__(object.__new__(fleet.Front), fleet.Plan(), {}))
