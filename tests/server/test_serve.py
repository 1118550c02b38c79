"""`yaie serve` as strangers meet it: with the `openai` package, and with raw bytes."""

import json
import math
import time

import openai
import pytest

from tests.server.conftest import request, running, tiny
from yaie import SamplingParams

CHAT = [{"role": "user", "content": "12+34="}]
GREEDY = {"model": "tiny", "temperature": 0}
LONG = {"model": "tiny", "prompt": "a=1;b=2", "max_tokens": 400, "stream": True, "ignore_eos": True}


def test_answers_are_the_engines_own(served, alone):
    """Would catch a parameter that is lost on the way, and text that is cut, doubled or in another order."""
    client = served.client()
    for number, params in enumerate(
        [{"temperature": 0}, {"temperature": 0.9, "seed": 3, "top_p": 0.8}, {"temperature": 1.5, "seed": 4}]
    ):
        expected = alone.generate(["a=1;b=2;c=", CHAT], SamplingParams(**params, max_tokens=24))
        body = {"model": "tiny", **params, "max_tokens": 24}
        told = client.completions.create(prompt="a=1;b=2;c=", **body)
        assert (told.choices[0].text, told.choices[0].finish_reason) == (expected[0].text, expected[0].finish_reason)
        events = list(client.completions.create(prompt="a=1;b=2;c=", stream=True, **body))
        assert "".join(event.choices[0].text for event in events) == expected[0].text
        assert [event.choices[0].finish_reason for event in events][-1] == expected[0].finish_reason
        chat = client.chat.completions.create(messages=CHAT, **body)
        assert (chat.choices[0].message.role, chat.choices[0].message.content) == ("assistant", expected[1].text)
        assert chat.usage.completion_tokens == len(expected[1].token_ids)
        assert chat.usage.prompt_tokens == len(expected[1].prompt_token_ids)
        events = list(client.chat.completions.create(messages=CHAT, stream=True, **body))
        assert events[0].choices[0].delta.role == "assistant"
        assert "".join(event.choices[0].delta.content for event in events) == expected[1].text
        assert len({event.id for event in events}) == 1, number


def test_what_the_engine_has_besides(served, alone):
    """Parameters that OpenAI does not have come through as well, and so do prompts of ids, and several of them."""
    own = {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.3, "ignore_eos": True, "stop_token_ids": [7]}
    rest = {"temperature": 1.2, "seed": 5, "presence_penalty": 0.5, "max_tokens": 9}
    expected = alone.generate([[5, 6, 7], [8, 9]], SamplingParams(**own, **rest))
    got = served.client().completions.create(model="tiny", prompt=[[5, 6, 7], [8, 9]], extra_body=own, **rest)
    assert [choice.text for choice in got.choices] == [output.text for output in expected]
    assert [choice.index for choice in got.choices] == [0, 1]
    parts = [{"role": "user", "content": [{"type": "text", "text": "12+"}, {"type": "text", "text": "34="}]}]
    whole = served.client().chat.completions.create(messages=CHAT, **GREEDY).choices[0].message.content
    assert served.client().chat.completions.create(messages=parts, **GREEDY).choices[0].message.content == whole


def test_several_answers_to_a_prompt(served, alone):
    """Would catch answers that are one and the same, or a prompt that is counted once for each of them."""
    body = {"model": "tiny", "prompt": "a=", "n": 3, "temperature": 1.5, "seed": 11, "max_tokens": 8}
    got = served.client().completions.create(**body)
    params = [SamplingParams(temperature=1.5, seed=11 + i, max_tokens=8) for i in range(3)]
    expected = alone.generate(["a="] * 3, params)
    assert [choice.text for choice in got.choices] == [output.text for output in expected]
    assert got.usage.prompt_tokens == len(expected[0].prompt_token_ids)
    assert got.usage.completion_tokens == sum(len(output.token_ids) for output in expected)
    streamed = {}
    for event in served.client().completions.create(**body, stream=True):
        streamed[event.choices[0].index] = streamed.get(event.choices[0].index, "") + event.choices[0].text
    assert streamed == {index: output.text for index, output in enumerate(expected)}


def test_usage_with_cached_tokens(served):
    """The usage comes last, in an event without choices, and only if it was asked for."""
    body = {**GREEDY, "prompt": "x=1;" * 20, "max_tokens": 3, "stream": True}
    client = served.client()
    assert all(event.usage is None and event.choices for event in client.completions.create(**body))
    *events, last = client.completions.create(**body, stream_options={"include_usage": True})
    assert all(event.usage is None for event in events)
    assert last.choices == []
    assert last.usage.prompt_tokens_details.cached_tokens > 0
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens


def test_logprobs(served, alone):
    """Those of the engine, in both shapes, streamed and whole."""
    expected = alone.generate([CHAT], SamplingParams(temperature=0, logprobs=2))[0].logprobs
    client = served.client()
    chat = client.chat.completions.create(messages=CHAT, logprobs=True, top_logprobs=2, **GREEDY)
    content = chat.choices[0].logprobs.content
    assert [entry.logprob for entry in content] == pytest.approx([entry.logprob for entry in expected])
    assert [len(entry.top_logprobs) for entry in content] == [2] * len(expected)
    assert all(bytes(entry.bytes).decode() == entry.token for entry in content)
    events = client.chat.completions.create(messages=CHAT, logprobs=True, top_logprobs=2, stream=True, **GREEDY)
    streamed = [entry for event in events for entry in event.choices[0].logprobs.content]
    assert [entry.token for entry in streamed] == [entry.token for entry in content]
    told = client.completions.create(prompt="a=1;b=2;", logprobs=1, max_tokens=5, **GREEDY).choices[0]
    assert all(math.isfinite(value) for value in told.logprobs.token_logprobs)
    assert told.logprobs.text_offset[0] == 0
    assert len(told.logprobs.tokens) == len(told.logprobs.top_logprobs) == len(told.logprobs.text_offset)


def test_stop_strings_and_lengths(served):
    """Text ends before a stop string, also in a stream; half of one is never sent."""
    client = served.client()
    body = {**GREEDY, "prompt": "a=1;b=2", "max_tokens": 30, "extra_body": {"ignore_eos": True}}
    whole = client.completions.create(**body).choices[0]
    assert whole.finish_reason == "length"
    stop = whole.text[3:6]
    assert stop
    ended = client.completions.create(**body, stop=[stop]).choices[0]
    assert (ended.text, ended.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")
    events = client.completions.create(**body, stop=stop, stream=True)
    assert "".join(event.choices[0].text for event in events) == ended.text


def test_characters_come_whole(served, alone):
    """Would catch an event with half a character: tokens of this vocabulary may be single bytes. Also places in the
    text that count what is not in it, half characters and the ends of a text."""
    tokens = []
    for prompt, temperature, seed in [*(("ä€😀", 30, seed) for seed in range(4)), ("sort: 4 2 9", 0, None)]:
        own = {"temperature": temperature, "seed": seed, "max_tokens": 40}
        body = {"model": "tiny", "prompt": prompt, **own, "logprobs": 0, "extra_body": {"ignore_eos": True}}
        expected = alone.generate(prompt, SamplingParams(**own, ignore_eos=True))[0].text
        events = [event.choices[0] for event in served.client().completions.create(**body, stream=True)]
        assert "".join(event.text for event in events) == expected
        whole = served.client().completions.create(**body).choices[0].logprobs
        places = [place for event in events for place in event.logprobs.text_offset]
        assert places == whole.text_offset
        plain = [pair for pair in zip(whole.tokens, places, strict=True) if pair[0].isascii() and pair[0][:2] != "<|"]
        assert all(expected[at:].lstrip("\ufffd").startswith(text) for text, at in plain)
        tokens += whole.tokens
    assert {"<|end|>", "\ufffd"} <= set(tokens)


REFUSED = [
    ({"model": "gpt-4"}, "model", 404),
    ({"model": 1}, "model", 400),
    ({"temperature": -1}, "temperature", 400),
    ({"temperature": "hot"}, "temperature", 400),
    ({"top_p": 2}, "top_p", 400),
    ({"max_tokens": 0}, "max_tokens", 400),
    ({"seed": 1.5}, "seed", 400),
    ({"stop": [""]}, "stop", 400),
    ({"stop": ["<|end|>a"]}, "stop", 400),
    ({"stop_token_ids": [10**6]}, "stop_token_ids", 400),
    ({"n": 0}, "n", 400),
    ({"n": 10**6}, "n", 400),
    ({"n": True}, "n", 400),
    ({"stream": "yes"}, "stream", 400),
    ({"stream_options": {"include_usage": True}}, "stream_options", 400),
    ({"stream": True, "stream_options": {"x": 1}}, "stream_options", 400),
    ({"logit_bias": {"5": 1}}, "logit_bias", 400),
    ({"frequency_penalty": 0.5}, "frequency_penalty", 400),
    ({"tools": [{"type": "function"}]}, "tools", 400),
    ({"response_format": {"type": "json_object"}}, "response_format", 400),
    ({"user": "me"}, "user", 400),
    ({"temprature": 1}, "temprature", 400),
]
OF_PROMPTS = [
    ({"prompt": ""}, "prompt", 400),
    ({"prompt": []}, "prompt", 400),
    ({"prompt": [["a"]]}, "prompt", 400),
    ({"prompt": [10**6]}, "prompt", 400),
    ({"prompt": [True]}, "prompt", 400),
    ({"prompt": {"a": 1}}, "prompt", 400),
    ({"prompt": ["a"] * 1000}, "prompt", 400),
    ({"prompt": [5] * 100000}, "prompt", 400),
    ({"prompt": "\ud800"}, "prompt", 400),
    ({"prompt": [{"role": "user", "content": "x"}]}, "prompt", 400),
    ({"logprobs": 1000}, "logprobs", 400),
    ({"logprobs": True}, "logprobs", 400),
    ({"suffix": "x"}, "suffix", 400),
    ({"echo": True}, "echo", 400),
]
OF_CHATS = [
    ({"messages": []}, "messages", 400),
    ({"messages": "hello"}, "messages", 400),
    ({"messages": [1]}, "messages", 400),
    ({"messages": [{"role": "user"}]}, "messages", 400),
    ({"messages": [{"role": 1, "content": "x"}]}, "messages", 400),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", 400),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache": {}}]}]}, "messages", 400),
    ({"messages": [{"role": "user", "content": "x", "name": "me"}]}, "messages", 400),
    ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, "messages", 400),
    ({"top_logprobs": 2}, "top_logprobs", 400),
    ({"logprobs": 2}, "logprobs", 400),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", 400),
    ({"max_completion_tokens": 0}, "max_completion_tokens", 400),
]


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_what_is_refused_is_named(served, path):
    """Nothing is ignored in silence, and nothing wrong gets as far as the engine. All say which parameter it was."""
    chat = path.startswith("chat")
    right = {"model": "tiny", **({"messages": CHAT} if chat else {"prompt": "a"})}
    for change, param, status in REFUSED + (OF_CHATS if chat else OF_PROMPTS):
        got, _, body = served.post(f"/v1/{path}", right | change)
        error = json.loads(body)["error"]
        assert (got, error["param"]) == (status, param), (change, error)
        assert error["type"] == "invalid_request_error"
        assert error["message"]
        assert len(error["message"]) < 500
        assert "http-" not in error["message"]  # the engine's name for it, which no client has seen
    for name in ("model", "messages" if chat else "prompt"):
        status, _, body = served.post(f"/v1/{path}", {key: value for key, value in right.items() if key != name})
        assert (status, json.loads(body)["error"]["param"]) == (400, name)


def test_what_asks_for_nothing_is_taken(served):
    """Clients send defaults and null; that is not worth an error."""
    body = {**GREEDY, "prompt": "a", "max_tokens": 1}
    nothing = {"frequency_penalty": 0, "logit_bias": {}, "best_of": 1, "echo": False, "seed": None, "user": None}
    assert served.post("/v1/completions", body | nothing)[0] == 200
    said = {"role": "assistant", "content": "46", "refusal": None, "annotations": [], "tool_calls": None}  # an answer
    assert served.post("/v1/chat/completions", {**GREEDY, "messages": [*CHAT, said, *CHAT]})[0] == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[1]", 400),
        (b"\xff\xfe{}", 400),
        (b"[" * 100_000, 400),
        (b'{"model": "tiny", "prompt": "a", "temperature": NaN}', 400),
        (b'{"model": "tiny", "prompt": "a", "temperature": 1e999}', 400),
        (b'{"model": "tiny", "prompt": "a", "max_tokens": ' + b"9" * 10_000 + b"}", 400),
        (b'{"model": "tiny", "prompt": "a", "\\ud800": 1}', 400),
        (b" " * (4 << 20) + b"{}", 413),
    ],
)
def test_bodies_that_are_none(served, data, status):
    """Raw bytes that no client library would send."""
    got, headers, body = served.post("/v1/completions", data)
    assert (got, headers["content-type"]) == (status, "application/json")
    assert json.loads(body)["error"]["message"]


def test_a_header_without_an_end(served):
    """Would catch a server that keeps whatever strangers send, and looks through all of it at each piece."""
    with served.raw(b"GET /health HTTP/1.1\r\nX: " + b"a" * (1 << 17)) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_other_paths_and_methods(served):
    """Errors of the library have the same shape."""
    for path, method, status in (("/v1/nothing", "POST", 404), ("/v1/completions", "GET", 405), ("/", "GET", 404)):
        with served.raw(request(path, b"", method=method)) as connection:
            received = connection.makefile("rb").read()
        assert received.startswith(f"HTTP/1.1 {status}".encode())
        assert b'"invalid_request_error"' in received
    models = served.client().models
    assert [model.id for model in models.list()] == [models.retrieve("tiny").id] == ["tiny"]
    with pytest.raises(openai.NotFoundError, match="no model 'x'"):
        models.retrieve("x")


def test_the_key_is_asked_for():
    """Without it nothing of the engine is shown; whether the server lives anyone may ask."""
    with running(tiny(), api_key="secret") as server:
        for key in ("none", "secre", "secret2"):
            with pytest.raises(openai.AuthenticationError, match="API key is missing or wrong"):
                server.client(key).completions.create(prompt="a", **GREEDY)
        assert server.client("secret").completions.create(prompt="a", max_tokens=1, **GREEDY).choices
        for path, status in (("/metrics", 401), ("/v1/models", 401), ("/health", 200)):
            with server.raw(request(path, b"", method="GET")) as connection:
                assert connection.makefile("rb").read().startswith(f"HTTP/1.1 {status}".encode())


def test_a_client_that_leaves_is_aborted(served):
    """Would catch an answer that is computed for nobody, and pages that never come back."""

    def left():
        return served.server.metrics.answers.labels("abort")._value.get()

    for stream in (True, False):
        before, num_left = served.llm.stats()["generated_tokens"], left()
        body = {**LONG, "stream": stream}
        with served.raw(request("/v1/completions", json.dumps(body).encode())) as connection:
            if stream:
                assert connection.recv(100)
            else:
                while served.llm.stats()["generated_tokens"] == before:
                    time.sleep(0.001)
        served.wait_until_idle()
        assert served.llm.stats()["generated_tokens"] - before < 400
        assert left() == num_left + 1  # an operator sees how many do


def test_more_than_it_takes_is_refused_at_once():
    """A queue without a bound grows until the machine ends it; a client that is told can come back."""
    with running(tiny(max_num_seqs=1), max_queue=1) as server:
        open_ones = [server.raw(request("/v1/completions", json.dumps(LONG).encode())) for _ in range(2)]
        end = time.monotonic() + 60
        while server.server.engine.num_open < 2:
            assert time.monotonic() < end
            time.sleep(0.001)
        status, headers, body = server.post("/v1/completions", {**LONG, "stream": False})
        assert (status, headers["retry-after"]) == (429, "1")
        assert json.loads(body)["error"]["type"] == "rate_limit_error"
        for connection in open_ones:
            connection.close()
        server.wait_until_idle()
        status, _, body = server.post("/v1/completions", {**LONG, "max_tokens": 2, "n": 3, "stream": False})
        assert status == 400  # more at once than there ever is room for: to come back would not help
        assert "3 answers at a time are more than this server takes, which is 2" in json.loads(body)["error"]["message"]
        assert server.post("/v1/completions", {**LONG, "max_tokens": 2, "stream": False})[0] == 200


@pytest.mark.parametrize("where", ["runner", "step"])
def test_a_fault_in_a_step_is_an_error_500(monkeypatch, where):
    """Its requests end with what went wrong, in a stream too, and the server lives."""

    def fail(*_):
        raise RuntimeError("planted")

    with running(tiny()) as server:
        client, name = server.client(), "launch" if where == "runner" else "_step"
        owner = server.llm.runner if where == "runner" else server.llm
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            for stream in (False, True):
                with pytest.raises(openai.InternalServerError, match="planted"):
                    client.completions.create(prompt="a", stream=stream, **GREEDY)
        whole = client.completions.create(prompt="a", **GREEDY).choices[0].text
        stream = client.completions.create(
            **{**GREEDY, "prompt": "a=1", "max_tokens": 400}, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        with monkeypatch.context() as patch:
            patch.setattr(server.llm.runner if where == "runner" else server.llm, name, fail)
            with pytest.raises(openai.APIError, match="planted"):
                list(stream)
        assert client.completions.create(prompt="a", **GREEDY).choices[0].text == whole
        server.wait_until_idle()


def test_metrics(served):
    """Would catch a counter that stands still."""

    def values():
        with served.raw(request("/metrics", b"", method="GET")) as connection:
            lines = connection.makefile("rb").read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith("yaie_")}

    before = values()
    served.client().completions.create(prompt="m=1", max_tokens=5, extra_body={"ignore_eos": True}, **GREEDY)
    served.post("/v1/completions", b"{")
    after = values()

    def grown(name):
        return after[name] - before.get(name, 0)

    assert grown("yaie_generated_tokens_total") == grown("yaie_time_between_tokens_seconds_count") + 1 == 5
    assert grown("yaie_time_to_first_token_seconds_count") == grown("yaie_request_seconds_count") == 1
    assert grown('yaie_answers_total{reason="length"}') == grown('yaie_refused_total{status="400"}') == 1
    pages = [value for name, value in after.items() if name.startswith("yaie_pages{")]
    assert sum(pages) == served.llm.num_blocks
