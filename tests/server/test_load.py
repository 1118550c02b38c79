"""A thousand streaming clients at a time, not all of them friendly: each gets exactly its tokens as alone."""

import asyncio
import json
import random
import resource

from tests.server.conftest import request, running, tiny
from yaie import SamplingParams

NUM_CLIENTS, NUM_ORDERS = 1000, 40


def orders(generator):
    for number in range(NUM_ORDERS):
        prompt = "k=1;" * generator.randrange(1, 9) + f"x={number};"
        params = {
            "seed": number,
            "temperature": generator.choice([0, 0.8, 2.0]),
            "max_tokens": generator.randrange(1, 13),
        }
        yield prompt, params


async def talk(server, body, kind, generator):
    """What a client of a kind received."""
    reader, writer = await asyncio.open_connection(server.host, server.port, limit=1 << 20)
    try:
        data = b'{"model": "tiny", "prompt"' if kind == "malformed" else json.dumps(body).encode()
        writer.write(request("/v1/completions", data))
        if kind == "leaves at once":
            return b""
        await writer.drain()
        if kind == "leaves":
            return await reader.read(generator.randrange(1, 400))
        received = b""
        while part := await reader.read(37 if kind == "slow" else 65536):
            received += part
            if kind == "slow":
                await asyncio.sleep(0.001)
        return received
    finally:
        writer.close()


def text_of(received):
    events = [json.loads(line[6:]) for line in received.split(b"\n") if line.startswith(b"data: {")]
    return "".join(event["choices"][0]["text"] for event in events), events[-1]["choices"][0]["finish_reason"]


def test_a_thousand_clients():
    """Would catch tokens that go to another client, answers that are lost, and pages that leak when clients leave."""
    generator = random.Random(5)
    chosen = list(orders(generator))
    alone = tiny()
    expected = [alone.generate(prompt, SamplingParams(**params))[0] for prompt, params in chosen]
    kinds = generator.choices(
        ["friendly", "slow", "leaves", "leaves at once", "malformed"], [80, 8, 6, 3, 3], k=NUM_CLIENTS
    )

    async def all_of_them(server):
        tasks = []
        for number, kind in enumerate(kinds):
            prompt, params = chosen[number % NUM_ORDERS]
            tasks.append(talk(server, {"model": "tiny", "prompt": prompt, "stream": True, **params}, kind, generator))
        return await asyncio.gather(*tasks)

    with running(tiny(max_num_seqs=64, num_blocks=512), max_queue=NUM_CLIENTS) as server:
        asyncio.run(all_of_them(server))  # what libraries keep for themselves is there after this
        server.wait_until_idle()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answers = asyncio.run(all_of_them(server))
        server.wait_until_idle()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
        assert server.llm.last_error is None
    for number, (kind, received) in enumerate(zip(kinds, answers, strict=True)):
        if kind in ("friendly", "slow"):
            output = expected[number % NUM_ORDERS]
            assert text_of(received) == (output.text, output.finish_reason)
        elif kind == "malformed":
            assert received.startswith(b"HTTP/1.1 400 ")
