"""Synthetic chats that teach the tiny model skills whose answers can be checked exactly.

A chat is a list of `Turn`. Everything is drawn from the `random.Random` that is passed in, so a seed names a data set.
Nothing here needs torch: `problems.py` draws its questions from the same generators.

    system:     alice=17;bob=42        a table, as pairs or as sentences, or told turn by turn
    user:       bob?
    assistant:  42
    user:       837+65=                and, mixed in, additions, work on lists, short stories
    assistant:  902
"""

# ruff: noqa: SIM905  (word lists read better as text)
import string
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

NAMES = """alice bob carol dave erin frank grace heidi ivan judy karl laura mike nina oscar peggy quinn rosa steve tina
ursula victor wendy xena yuri zoe adam bella chris diana eddie fiona george hanna igor jack kate leo mary nick olga
paul rita sam tom uma vera will yara zack amy ben cleo dora eli finn gina hugo iris joan kurt lily max nora otto pia
ralph sara theo una vince walt yves zara abel beth cody dina emma fred gus hope ida jon kim luke mona ned opal pete
ruth sean toby umar vito wade yoko zane anna bert cora dean ella flo glen hank inga jill kyle lena mark nell olaf
page remy stan tess vlad wren""".split()
ANIMALS = "cat dog fox owl bear frog goat duck horse mouse snake wolf crow bee".split()
PLACES = "river forest garden castle market village beach mountain bridge cave school farm".split()
FOODS = "bread soup cake jam tea rice fish corn honey milk cheese apples pears plums nuts".split()
COLORS = "red blue green black white brown grey pink".split()
MOODS = "small big old young quiet happy sad clever hungry lazy".split()
THINGS = "coin key lamp book hat boat drum kite map rope bell ring".split()
WEATHER = "sunny rainy windy cold warm foggy".split()
WORDS = COLORS + ANIMALS + FOODS + THINGS

# How often each list skill is drawn; the hard ones more often.
LIST_SKILLS = {"copy": 3, "reverse": 3, "sort": 6, "item": 1, "count": 1, "repeated": 1}


class Turn(NamedTuple):
    """One message of a chat. Only turns with a `skill` are trained on; the others are given."""

    role: str
    content: str
    skill: str = ""


Chat = list[Turn]


@dataclass(frozen=True)
class Mix:
    """How long and how hard the documents of a training batch are.

    `tokens` is the context to fill, `pairs` the largest table, `digits` the largest addend, `items` the longest list;
    `tables` is the share of documents about a table and `unknown` the share of questions whose key is not in it.
    `mixed` is the share of tables, at most 0.6, half of whose keys are random; their share is taken from names.
    """

    tokens: int
    pairs: int
    digits: int = 3
    items: int = 8
    tables: float = 0.55
    unknown: float = 0.03
    mixed: float = 0.18


def held_out(question: str) -> bool:
    """One question in ten about numbers or lists is kept for `problems.py` and never trained on.

    Additions are kept by the unordered pair, so that `12+34` in training does not give `34+12` away.
    """
    a, plus, b = question.rstrip("=").partition("+")
    text = "+".join(sorted((a, b))) if plus else question
    return zlib.crc32(text.encode()) % 10 == 0


# ---- tables --------------------------------------------------------------------------------------------------------


def random_key(rng: Random) -> str:
    """Two to four letters and sometimes a digit: a key that is usually several tokens."""
    letters = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 4)))
    return letters + (str(rng.randint(0, 9)) if rng.random() < 0.3 else "")


def draw_keys(rng: Random, count: int, kind: str) -> list[str]:
    """`count` different keys: `name`, `random`, or `mixed` (half of each); names that run out become mixed."""
    if kind == "name" and count <= len(NAMES):
        return rng.sample(NAMES, count)
    names = 0 if kind == "random" else min(count // 2, len(NAMES))
    keys = dict.fromkeys(rng.sample(NAMES, names))  # a dict keeps the order; a set's depends on the process
    while len(keys) < count:
        keys[random_key(rng)] = None
    shuffled = list(keys)
    rng.shuffle(shuffled)
    return shuffled


def draw_value(rng: Random, kind: str) -> str:
    """A value: `two` digits, up to `three` digits, or a `word`."""
    if kind == "word":
        return rng.choice(WORDS)
    return str(rng.randint(10, 99) if kind == "two" else rng.randint(0, 999))


class Table:
    """Keys and values told to the model in one of four forms, and questions about them.

    `pairs` is `alice=17;bob=42` in the system turn, `likes` and `has` are sentences, and `told` spreads the pairs over
    user turns. `updates` is the share of turns that overwrite a key: the newest value is then the right answer.
    """

    def __init__(
        self,
        rng: Random,
        num_pairs: int,
        *,
        form: str = "pairs",
        keys: str = "name",
        values: str = "two",
        separator: str = ";",
        unknown: float = 0.0,
        updates: float = 0.0,
    ) -> None:
        self.rng, self.form, self.key_kind, self.value_kind = rng, form, keys, values
        self.unknown, self.updates, self.updated = unknown, updates, []
        if form == "likes":
            self.values = {key: rng.choice(FOODS) for key in draw_keys(rng, num_pairs, keys)}
        elif form == "has":
            self.values = {key: str(rng.randint(2, 99)) for key in draw_keys(rng, num_pairs, keys)}
        else:
            self.values = {key: draw_value(rng, values) for key in draw_keys(rng, num_pairs, keys)}
        self.opening = self._told_turns() if form == "told" else [Turn("system", self._system_text(separator))]

    def _system_text(self, separator: str) -> str:
        if self.form == "likes":
            return " ".join(f"{key} likes {value}." for key, value in self.values.items())
        if self.form == "has":
            return " ".join(f"{key} has {v} {self.rng.choice(THINGS)}s." for key, v in self.values.items())
        return separator.join(f"{key}={value}" for key, value in self.values.items())

    def _told_turns(self) -> Chat:
        pairs, turns = [f"{key}={value}" for key, value in self.values.items()], []
        while pairs:
            size = self.rng.randint(1, 4)
            turns += [Turn("user", ";".join(pairs[:size])), Turn("assistant", "ok", "ok")]
            pairs = pairs[size:]
        return turns

    def question(self, key: str) -> str:
        """The plain question that asks for `key`."""
        forms = {"likes": f"what does {key} like?", "has": f"how many does {key} have?"}
        return forms.get(self.form, f"{key}?")

    def lookup(self, key: str) -> Chat:
        """Ask for `key`; a key that is not in the table is answered `unknown`."""
        question = self.question(key)
        if self.form in ("pairs", "told") and self.rng.random() < 0.2:
            question = f"what is {key}?"
        skill = "unknown" if key not in self.values else "updated" if self.updates else "lookup"
        return [Turn("user", question), Turn("assistant", self.values.get(key, "unknown"), skill)]

    def update(self) -> Chat:
        """Overwrite the value of a random key."""
        key = self.rng.choice(list(self.values))
        self.values[key] = draw_value(self.rng, self.value_kind)
        self.updated.append(key)
        return [Turn("user", f"{key}={self.values[key]}"), Turn("assistant", "ok", "ok")]

    def next_turns(self) -> Chat:
        """One update or one question; half the questions after updates ask for a key that was overwritten."""
        if self.rng.random() < self.updates:
            return self.update()
        if self.rng.random() < self.unknown:
            return self.lookup(draw_keys(self.rng, 1, self.key_kind)[0])
        keys = self.updated if self.updated and self.rng.random() < 0.5 else list(self.values)
        return self.lookup(self.rng.choice(keys))


# ---- skills that need no table -------------------------------------------------------------------------------------


def _number(rng: Random, digits: int) -> int:
    return rng.randint(10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1)


def addition(rng: Random, digits: int, *, test: bool = False) -> Chat:
    """`a+b=` with addends of up to `digits` digits; `test` draws from the held-out pairs.

    One-digit sums are never held out: there are too few of them.
    """
    while True:
        a, b = _number(rng, rng.randint(1, digits)), _number(rng, rng.randint(1, digits))
        if digits > 1 and rng.random() < 0.15:  # long carries are rare among random pairs
            b = max(0, 10 ** rng.randint(1, digits) - a + rng.randint(-2, 2))
        question = f"{a}+{b}="
        if b < 10**digits and (held_out(question) and max(a, b) > 9) == test:
            return [Turn("user", question), Turn("assistant", str(a + b), "addition")]


def _list_question(rng: Random, skill: str, size: int) -> tuple[str, str]:
    letters = rng.choices(string.ascii_lowercase, k=size)
    if skill == "count":
        letters = rng.choices(rng.sample(string.ascii_lowercase, rng.randint(2, 4)), k=size)
        wanted = rng.choice(letters)
        return f"count {wanted}: {' '.join(letters)}", str(letters.count(wanted))
    if skill == "item":
        index = rng.randrange(size)
        return f"item {index + 1}: {' '.join(letters)}", letters[index]
    if skill == "repeated":  # the first letter that was seen before
        letters[rng.randrange(1, size)] = letters[0]
        rng.shuffle(letters)
        return f"repeated: {' '.join(letters)}", next(x for i, x in enumerate(letters) if x in letters[:i])
    separator = " "
    if rng.random() < 0.5:
        letters, separator = rng.choices(string.digits, k=size), ""
    answer = {"copy": letters, "reverse": letters[::-1], "sort": sorted(letters)}[skill]
    return f"{skill}: {separator.join(letters)}", separator.join(answer)


def list_task(rng: Random, skill: str, sizes: tuple[int, int], *, test: bool = False) -> Chat:
    """One of `LIST_SKILLS` on a list of letters or digits; `test` draws from the held-out questions."""
    while True:
        size = max(rng.randint(*sizes), 2)
        question, answer = _list_question(rng, skill, size)
        if held_out(question) == test:
            return [Turn("user", question), Turn("assistant", answer, skill)]


def story(rng: Random) -> Chat:
    """A story of four or five sentences from templates: text to look at, not to check."""
    (name, friend), (place, goal) = rng.sample(NAMES, 2), rng.sample(PLACES, 2)
    animal, food, thing = rng.choice(ANIMALS), rng.choice(FOODS), rng.choice(THINGS)
    color, mood, weather = rng.choice(COLORS), rng.choice(MOODS), rng.choice(WEATHER)
    parts = [
        [
            f"One {weather} day {name} went to the {place}.",
            f"It was a {weather} day and {name} was at the {place}.",
            f"{name} lived near the {place}.",
        ],
        [
            f"There {name} met a {mood} {animal}.",
            f"A {mood} {animal} came out of the {place} and looked at {name}.",
            f"Soon {name} saw a {mood} {animal} with a {color} {thing}.",
        ],
        [
            f"The {animal} was lost, so {name} walked with it to the {goal}.",
            f"The {animal} wanted some {food}, so {name} shared it.",
            f'"Do you have any {food}?" asked the {animal}.',
        ],
        [
            f"On the way they found a {color} {thing}.",
            f"Then {friend} gave them a {color} {thing}.",
            f"They went to the {goal} and ate {food} with {friend}.",
        ],
        [
            f"In the end {name} and the {animal} became friends.",
            f"After that the {animal} was never {mood} again.",
            f"{name} went home and told {friend} about the {animal}.",
        ],
    ]
    if rng.random() < 0.4:
        del parts[3]
    asked = rng.choice([f"tell a story about {name} and a {animal}.", f"tell me about {name} and the {animal}."])
    return [Turn("user", asked), Turn("assistant", " ".join(rng.choice(part) for part in parts), "story")]


# ---- documents -----------------------------------------------------------------------------------------------------


def draw_list_task(rng: Random, mix: Mix) -> Chat:
    skill = rng.choices(list(LIST_SKILLS), weights=list(LIST_SKILLS.values()))[0]
    return list_task(rng, skill, (2, mix.items))


def side_task(rng: Random, mix: Mix) -> Chat:
    """Any skill that needs no table."""
    draw = rng.random()
    if draw < 0.42:
        return addition(rng, mix.digits if rng.random() < 0.7 else rng.randint(1, mix.digits))
    return draw_list_task(rng, mix) if draw < 0.985 else story(rng)


def draw_table(rng: Random, mix: Mix) -> Table:
    """A table of random form and size; small and large tables get equal shares of the documents."""
    largest = min(mix.pairs, int(mix.tokens * 0.75 / 5.5))  # a pair is about 5.5 tokens; leave room for questions
    bounds = rng.choice([(2, min(24, largest)), (2, largest), (max(2, largest // 2), largest)])
    size, draw = rng.randint(*bounds), rng.random()
    separator = rng.choice([";", ";", "; ", "\n"])
    values = rng.choice(["two", "two", "three", "word"])
    unknown = mix.unknown
    if draw < 0.60 - mix.mixed:
        return Table(rng, size, values=values, separator=separator, unknown=unknown)
    if draw < 0.60:
        return Table(rng, size, keys="mixed", separator=separator, unknown=unknown)
    if draw < 0.66:
        return Table(rng, max(2, size * 7 // 10), keys="random", separator=separator, unknown=unknown)
    if draw < 0.72:
        return Table(rng, min(size, len(NAMES)), form="likes", unknown=unknown)
    if draw < 0.78:
        return Table(rng, max(2, min(size * 7 // 10, len(NAMES))), form="has", unknown=unknown)
    form = "told" if rng.random() < 0.7 else "pairs"
    return Table(rng, max(2, size // 2), form=form, unknown=unknown, updates=rng.choice([0.0, 0.25, 0.5, 0.5]))


def document(rng: Random, mix: Mix) -> Chat:
    """A chat of about `mix.tokens` tokens: a table and questions about it, or a run of other tasks."""
    turns: Chat = []
    if rng.random() < mix.tables:
        table = draw_table(rng, mix)
        turns += table.opening
        aside = rng.choice([0.0, 0.0, 0.3])
        for _ in range((mix.tokens - 5 * len(table.values)) // 6 + 4):
            turns += side_task(rng, mix) if rng.random() < aside else table.next_turns()
        return turns
    for _ in range(max(2, mix.tokens // 12)):
        turns += side_task(rng, mix)
    return turns


def tokenizer_corpus(rng: Random, count: int = 4000) -> Iterator[str]:
    """Text for the byte pair encoding: enough of every form that names and words become single tokens."""
    for _ in range(count):
        chats = [Table(rng, 20, form=form).opening for form in ("pairs", "likes", "has")]
        chats += [Table(rng, 10, values="word").opening, story(rng), story(rng), addition(rng, 3)]
        chats += [draw_list_task(rng, Mix(tokens=0, pairs=0, items=6))]
        asked = Table(rng, 5, form=rng.choice(["pairs", "likes", "has"]))
        chats += [asked.next_turns() for _ in range(4)]
        yield from (turn.content for chat in chats for turn in chat)
