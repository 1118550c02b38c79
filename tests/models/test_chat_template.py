"""Templates that fail, run on, or want all memory: each ends as a ValueError of the one chat that used it."""

import os
import threading
import time

import pytest

from yaie.engine.llm import LLM
from yaie.models import chat_template
from yaie.models.chat_template import render
from yaie.models.loader import load_model

LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
BAD = {
    "a block without an end": ("{% if true %}", "TemplateSyntaxError"),
    "an unknown tag": ("{% nonsense %}", "TemplateSyntaxError"),
    "an unknown filter": ("{{ 1 | nonsense }}", "TemplateAssertionError"),
    "deep brackets": ("{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}", "RecursionError"),
    "a division by zero": ("{{ 1 / 0 }}", "ZeroDivisionError"),
    "a key that is not there": ("{{ messages[0].nothing.more }}", "UndefinedError"),
    "an index beyond the chat": ("{{ messages[5]['role'] }}", "UndefinedError"),
    "a text and None": ("{{ 'a' + none }}", "TypeError"),
    "its own refusal": ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    "a huge range": ("{{ range(10 ** 9) | list }}", "Range too big"),
    "a macro that calls itself": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    "a file": ("{% include '/etc/passwd' %}", "no loader"),
    "a way out of the sandbox": ("{{ ''.__class__.__mro__ }}", "SecurityError"),
    "a change of the chat": ("{{ messages.append(1) }}", "SecurityError"),
    "two loops": (LOOPS, "did not end"),
    "a power": ("{{ 10 ** (10 ** 9) }}", "did not end"),
    "a page of filler": ("{{ lipsum(10 ** 7) }}", "did not end"),
    "a wide number": ("{{ '%1000000000d' % 1 }}", "100 MB"),
    "a wide format": ("{{ '{:1000000000}'.format(1) }}", "100 MB"),
    "a wide filter": ("{{ 'a' | center(10 ** 9) }}", "100 MB"),
    "a wide indent": ("{{ messages | tojson(indent=10 ** 9) }}", "100 MB"),
    "a product": ("{{ 'a' * 10 ** 10 }}", "100 MB"),
    "a replacement": ("{{ ('a' * 10 ** 6) | replace('a', 'a' * 10 ** 5) }}", "100 MB"),
    "a text that doubles": (
        "{% set n = namespace(s='aa') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}", "100 MB"
    ),
    "more text than any model reads": ("{{ 'a' * 3000000 }}", "3000000 characters"),
    "a long reason": ("{{ raise_exception('a' * 10 ** 6) }}", "TemplateError: aaaa"),
}  # fmt: skip
CHAT = [{"role": "user", "content": "hi"}]
GOOD = "{{ messages[0].content }}"


@pytest.mark.parametrize("case", BAD)
def test_a_bad_template_is_an_error_of_one_chat(case):
    """Catches Python's own errors that take the engine down, and templates that run on.

    Brothers: syntax, deep nesting, arithmetic, missing keys, types, the template's own refusal, ranges, recursion,
    files, the sandbox, loops in loops, powers, filler; widths and products of every spelling; too much text.
    """
    template, message = BAD[case]
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message) as info:
        render(template, {"messages": CHAT})
    assert len(str(info.value)) < 1000
    assert time.perf_counter() - start < 60  # half a second of the processor's time, which may be busy
    assert render(GOOD, {"messages": CHAT}) == "hi"


@pytest.mark.parametrize("variables", [{"messages": {1}}, {"messages": b"x"}, {"messages": object()}, None])
def test_what_is_no_json(variables):
    """Catches objects of ours that get to a template."""
    deep = []
    for _ in range(10**5):
        deep = [deep]
    with pytest.raises(ValueError, match=r"JSON|nested too deeply"):
        render(GOOD, variables or {"messages": deep})


def test_half_characters_and_all_others_come_through():
    """Catches an encoding of the pipe in which something is lost."""
    text = 'é世🙂\n\r\u2028\0\ud83d\\ "'
    assert render(GOOD, {"messages": [{"content": text}]}) == text


def test_a_bad_template_ends_no_neighbour():
    """Catches a generate that dies of one chat. The plain prompt and the ids beside it are answered as always."""
    model, config, tokenizer = load_model("tiny")
    expected = LLM((model, config, tokenizer), backend="torch").generate(["1+1=", [5, 6]])
    for template, message in [BAD["a division by zero"], BAD["two loops"], BAD["a wide number"]]:
        tokenizer.chat_template = template
        outputs = LLM((model, config, tokenizer), backend="torch").generate(["1+1=", [5, 6], CHAT])
        assert [output.finish_reason for output in outputs[2:]] == ["error"]
        assert message in outputs[2].error
        assert "the chat template of" in outputs[2].error
        assert [output.text for output in outputs[:2]] == [output.text for output in expected]


def test_threads_get_their_own_answers():
    """Catches answers that are handed to whoever reads first."""
    wrong = []

    def ask(name):
        for i in range(30):
            text = f"{name} {i}" * 100
            if render(GOOD, {"messages": [{"content": text}]}) != text:
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_interrupted_question_leaves_no_answer_behind(monkeypatch):
    """Catches the next chat getting the text of one that was cut by Ctrl-C."""
    render(GOOD, {"messages": CHAT})
    ask = chat_template._ask

    def cut(question):
        ask_without_reading = chat_template._worker.stdin
        ask_without_reading.write(question + "\n")
        ask_without_reading.flush()
        raise KeyboardInterrupt

    monkeypatch.setattr(chat_template, "_ask", cut)
    with pytest.raises(KeyboardInterrupt):
        render(GOOD, {"messages": [{"content": "the old one"}]})
    monkeypatch.setattr(chat_template, "_ask", ask)
    assert render(GOOD, {"messages": CHAT}) == "hi"


def test_a_killed_worker_is_replaced():
    """Catches a chat that fails for ever after the worker was ended by others (an out-of-memory killer)."""
    render(GOOD, {"messages": CHAT})
    chat_template._worker.kill()
    chat_template._worker.wait()
    assert render(GOOD, {"messages": CHAT}) == "hi"


def test_a_fork_does_not_share_the_worker():
    """Catches a child process that takes its parent's answers."""
    render(GOOD, {"messages": CHAT})
    worker = chat_template._worker.pid
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            answer = render(GOOD, {"messages": [{"content": "child"}]}) if chat_template._worker is None else "shared"
            os.write(write, answer.encode())
            chat_template._stop()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"child"
    assert render(GOOD, {"messages": CHAT}) == "hi"
    assert chat_template._worker.pid == worker
