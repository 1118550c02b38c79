"""Held-out problems with exact answers: what the tiny model can do, and how a bug in an engine shows.

    problems = lookup(64, count=100)
    answers = [...]                      # one text per problem, from any engine, greedy
    accuracy(answers, problems)          # 0.99 when all is well, far less when a page is lost

Problems come from seeds of their own. Questions about numbers and lists are those that training never saw
(`data.held_out`); tables are new because there are far too many to repeat.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from yaie.models.tiny import data


@dataclass(frozen=True)
class Problem:
    """A chat that ends with a user's question, in the form chat templates take, and the one right answer."""

    messages: list[dict[str, str]]
    answer: str
    skill: str


def accuracy(answers: Sequence[str], problems: Sequence[Problem]) -> float:
    """The share of `answers` that are exactly right; one answer per problem, in the same order."""
    if len(answers) != len(problems) or not problems:
        raise ValueError(f"expected one answer for each of {len(problems)} problems, got {len(answers)}")
    return sum(a == p.answer for a, p in zip(answers, problems, strict=True)) / len(problems)


def from_chat(chat: data.Chat, skill: str) -> Problem:
    """The last turn of `chat` is the answer, the turns before it are the problem."""
    messages = [{"role": turn.role, "content": turn.content} for turn in chat[:-1]]
    return Problem(messages, chat[-1].content, skill)


def lookup(num_pairs: int, count: int, *, seed: int = 10_000, **table: str) -> list[Problem]:
    """Questions about tables of `num_pairs`: every other key in order, so that every 16-token page is asked about.

    Problems about one table follow each other and share all but the question. `table` goes to `data.Table`.
    """
    rng, problems = Random(seed + num_pairs), []
    while len(problems) < count:
        told = data.Table(rng, num_pairs, **table)
        for key in list(told.values)[rng.randrange(2) :: 2]:
            answer = data.Turn("assistant", told.values[key])
            chat = [*told.opening, data.Turn("user", told.question(key)), answer]
            problems.append(from_chat(chat, f"lookup {num_pairs}"))
    return problems[:count]


def multi_turn(num_pairs: int, count: int, *, seed: int = 20_000) -> list[Problem]:
    """A table, ten turns of lookups and other tasks, then one more lookup."""
    rng, mix, problems = Random(seed + num_pairs), data.Mix(tokens=0, pairs=0), []
    for _ in range(count):
        table = data.Table(rng, num_pairs)
        chat = list(table.opening)
        for _ in range(10):
            chat += table.next_turns() if rng.random() < 0.5 else data.side_task(rng, mix)
        chat += table.lookup(rng.choice(list(table.values)))
        problems.append(from_chat(chat, f"multi-turn {num_pairs}"))
    return problems


def updates(num_pairs: int, count: int, *, seed: int = 30_000) -> list[Problem]:
    """A table told over several turns, twelve turns of updates and lookups, then a lookup of the newest value."""
    rng, problems = Random(seed + num_pairs), []
    for _ in range(count):
        table = data.Table(rng, num_pairs, form="told", updates=0.5)
        chat = list(table.opening)
        for _ in range(12):
            chat += table.next_turns()
        keys = table.updated if table.updated and rng.random() < 0.5 else list(table.values)
        chat += table.lookup(rng.choice(keys))
        problems.append(from_chat(chat, f"updates {num_pairs}"))
    return problems


def unknown(num_pairs: int, count: int, *, seed: int = 40_000) -> list[Problem]:
    """Questions for a key that is not in the table."""
    rng, problems = Random(seed + num_pairs), []
    for _ in range(count):
        table = data.Table(rng, num_pairs)
        missing = rng.choice([name for name in data.NAMES if name not in table.values])
        problems.append(from_chat([*table.opening, *table.lookup(missing)], f"unknown {num_pairs}"))
    return problems


def _distinct(make: Callable[[], data.Chat], count: int, skill: str) -> list[Problem]:
    problems: dict[str, Problem] = {}
    while len(problems) < count:
        problem = from_chat(make(), skill)
        problems[problem.messages[0]["content"]] = problem
    return list(problems.values())


def addition(digits: int, count: int, *, seed: int = 50_000) -> list[Problem]:
    """Additions whose larger addend has exactly `digits` digits; two and three digits are held out of training."""
    rng = Random(seed + digits)

    def make() -> data.Chat:
        while True:
            chat = data.addition(rng, digits, test=digits > 1)
            if max(len(number) for number in chat[0].content.rstrip("=").split("+")) == digits:
                return chat

    return _distinct(make, min(count, 100) if digits == 1 else count, f"addition {digits}")


def list_task(skill: str, count: int, *, seed: int = 60_000) -> list[Problem]:
    """One of `data.LIST_SKILLS` on three to eight letters or digits, held out of training."""
    rng = Random(f"{seed}-{skill}")
    return _distinct(lambda: data.list_task(rng, skill, (3, 8), test=True), count, skill)


def suite(count: int = 300) -> dict[str, list[Problem]]:
    """Every skill by name, `count` problems each."""
    sets = {f"lookup {n}": lookup(n, count) for n in (4, 16, 32, 64, 100)}
    sets |= {
        "lookup 200 (mixed keys)": lookup(200, count, keys="mixed"),
        "lookup 400 (mixed keys)": lookup(400, count, keys="mixed"),
        "lookup 64, up to 3 digits": lookup(64, count, values="three"),
        "lookup 64, words": lookup(64, count, values="word"),
        "lookup 64, mixed keys": lookup(64, count, keys="mixed"),
        "lookup 64, likes": lookup(64, count, form="likes"),
        "lookup 64, has": lookup(64, count, form="has"),
        "lookup 32, told in turns": lookup(32, count, form="told"),
        "multi-turn 32": multi_turn(32, count),
        "multi-turn 100": multi_turn(100, count),
        "updates 8": updates(8, count),
        "updates 24": updates(24, count),
        "unknown 32": unknown(32, count),
    }
    sets |= {f"addition {digits}": addition(digits, count) for digits in (1, 2, 3)}
    return sets | {skill: list_task(skill, count) for skill in data.LIST_SKILLS}
