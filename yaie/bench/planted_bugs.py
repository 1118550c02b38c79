"""What a bug in an engine does to the tiny model's answers: `python -m yaie.bench.planted_bugs` prints a table.

Every bug here is one that engines have had, planted into the running `LLM` at one of two places: the batch of a step
(positions, slots, block tables, lengths) or the call of attention over pages. So it acts on every backend. Each is
asked about by a set of problems that lets it show: a lost page by questions whose answers lie on it, a position that is
wrong in decode by answers of many tokens, an error in chunks by a prompt that is computed in chunks.

    answers_right("reverse")                                    # 1.0
    answers_right("reverse", BUGS["decode position stuck"])     # 0.0
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch

from yaie.engine.llm import LLM
from yaie.engine.request import Request
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels.ops import TorchOperations
from yaie.models.batch import Batch
from yaie.models.tiny import problems
from yaie.models.tiny.evaluate import ChatEncoder
from yaie.models.tiny.problems import Problem
from yaie.options import Parser

BLOCK_SIZE = 16
CHUNK = 64  # tokens of a step where prompts are computed in chunks


# ---- what is asked, and how the engine is set up for it --------------------------------------------------------------


@dataclass(frozen=True)
class Setup:
    """Problems and the engine that answers them. `cached`: one question about each table is asked before all others."""

    problems: Callable[[], list[Problem]]
    cached: bool = False
    options: dict[str, Any] = field(default_factory=dict)


def two_tables(num_pairs: int, count: int) -> list[Problem]:
    """Lookups in two tables, so that there are pages of another request with other answers."""
    seeds = (80_000, 90_000)
    return [problem for seed in seeds for problem in problems.lookup(num_pairs, count // 2, seed=seed)]


def answer_in_last_slot(count: int) -> list[Problem]:
    """Lookups whose answer begins in the last slot of a page: a few of each table."""
    encoder = ChatEncoder()
    asked = problems.lookup(64, 32 * count, seed=70_000)
    last = BLOCK_SIZE - 1
    return [p for p in asked if answer_position(encoder.prompt(p.messages)) % BLOCK_SIZE == last][:count]


def two_carries(count: int) -> list[Problem]:
    """Sums of two numbers of three digits with two carries."""

    def wanted(problem: Problem) -> bool:
        a, b = problem.messages[0]["content"].rstrip("=").split("+")
        carries = sum(int(a[-n:]) + int(b[-n:]) >= 10**n for n in (1, 2, 3))
        return len(a) == len(b) == 3 and carries == 2

    return [p for p in problems.addition(3, 20 * count) if wanted(p)][:count]


def eight_items(skill: str, count: int) -> list[Problem]:
    """The longest lists; where letters are counted, there are at least three of them."""

    def wanted(problem: Problem) -> bool:
        items = problem.messages[0]["content"].partition(": ")[2].replace(" ", "")
        return len(items) == 8 and (skill != "count" or int(problem.answer) >= 3)

    return [p for p in problems.list_task(skill, 20 * count) if wanted(p)][:count]


CHUNKED = {"max_num_batched_tokens": CHUNK, "max_num_seqs": 1, "prefix_cache": False}
SETUPS = {
    "lookup 64, table cached": Setup(lambda: two_tables(64, 40), cached=True),
    "lookup 16, table cached": Setup(lambda: two_tables(16, 40), cached=True),
    "lookup 200, table cached": Setup(lambda: problems.lookup(200, 20, keys="mixed"), cached=True),
    "lookup 32, in chunks": Setup(lambda: problems.lookup(32, 20), options=CHUNKED),
    "lookup 64, last slots": Setup(lambda: answer_in_last_slot(20)),
    "sums, two carries": Setup(lambda: two_carries(60)),
    "reverse": Setup(lambda: problems.list_task("reverse", 40)),
    "sort 8 items": Setup(lambda: eight_items("sort", 60)),
    "count among 8": Setup(lambda: eight_items("count", 60)),
}


def answer_position(prompt: list[int]) -> int:
    """Where the answer to a lookup begins: the key, one token, is followed by `=` and the value.

    A prompt ends with the key asked for, `?`, the end token and the assistant's token.
    """
    return prompt.index(prompt[-4]) + 2


# ---- bugs in the batch of a step -------------------------------------------------------------------------------------


@dataclass
class Row:
    """One request in the batch of a step. Its tensors are views: to write to them changes the batch."""

    batch: Batch
    index: int
    request: Request
    positions: torch.Tensor
    slots: torch.Tensor

    @property
    def table(self) -> torch.Tensor:
        return self.batch.block_tables[self.index]

    @property
    def context_len(self) -> int:
        return self.batch.lengths[self.index]

    @context_len.setter
    def context_len(self, value: int) -> None:
        self.batch.lengths[self.index] = value
        self.batch.context_lens[self.index] = value

    @property
    def start(self) -> int:
        """How many tokens were computed before this step."""
        return self.request.num_computed_tokens

    @property
    def full_pages(self) -> int:
        """How many pages were filled before this step."""
        return self.start // BLOCK_SIZE

    def drop_page(self, page: int) -> None:
        """Forget one full page; the keys behind it keep the positions that were written into them."""
        self.table[page:-1] = self.table[page + 1 :].clone()
        self.context_len -= BLOCK_SIZE


def in_batch(edit: Callable[[Row], None]) -> Callable[[LLM], None]:
    """A bug that changes rows of the batch after the engine has made it."""

    def plant(llm: LLM) -> None:
        make_batch = llm.runner.make_batch

        def broken(scheduled: dict[Request, int]) -> Batch:
            batch = make_batch(scheduled)
            parts = batch.positions.split(batch.query_lens), batch.slot_mapping.split(batch.query_lens)
            for index, row in enumerate(zip(scheduled, *parts, strict=True)):
                edit(Row(batch, index, *row))
            batch.shared = ()  # what was found in other tables
            return batch

        llm.runner.make_batch = broken

    return plant


def shift(row: Row, by: int, *, only_decode: bool = True) -> None:
    if row.request.is_decode or not only_decode:
        row.positions += by


def stuck(row: Row) -> None:
    if row.request.is_decode:
        row.positions.fill_(row.request.num_prompt_tokens)


def restart_after_prefix(row: Row) -> None:
    """Counts the new tokens of a prompt from 0, as if none had been cached."""
    if not row.request.is_decode and row.start == row.request.num_cached_tokens:
        row.positions -= row.start


def restart_chunk(row: Row) -> None:
    if not row.request.is_decode:
        row.positions -= row.start


def asked_page(row: Row) -> int:
    return answer_position(row.request.prompt_token_ids.tolist()) // BLOCK_SIZE


def random_page(row: Row) -> int:
    """Any page that was filled before the step; the same one in every step of a request."""
    return Random(row.request.arrival).randrange(max(1, row.request.num_cached_tokens // BLOCK_SIZE))


def drop(row: Row, page_of: Callable[[Row], int]) -> None:
    if (page := page_of(row)) < row.full_pages:
        row.drop_page(page)


class AnothersPage:
    """Reads a page of another request instead of its own."""

    def __init__(self, page_of: Callable[[Row], int]) -> None:
        self.page_of, self.tables = page_of, {}

    def __call__(self, row: Row) -> None:
        own = row.table.tolist()
        page = self.page_of(row)
        self.tables.setdefault(own[0], own)  # who shares the first page shares the table
        others = [table[page] for first, table in self.tables.items() if first != own[0] and page < len(table)]
        if page < row.full_pages and others:
            row.table[page] = others[-1]


def chunk_alone(row: Row) -> None:
    """A chunk reads its own pages and not those before it. Chunks begin with a page here."""
    if not row.request.is_decode and row.start:
        first = row.full_pages
        row.table[: len(row.table) - first] = row.table[first:].clone()
        row.context_len -= row.start


def lose_last_slot(row: Row) -> None:
    """What belongs into the last slot of a page is never stored: slot -1 stands for none."""
    row.slots[row.slots % BLOCK_SIZE == BLOCK_SIZE - 1] = -1


def one_short(row: Row) -> None:
    """A decode does not see its own token, the newest."""
    if row.request.is_decode:
        row.context_len -= 1


def swap_pages(row: Row) -> None:
    """Two full pages are read in each other's place."""
    if row.full_pages >= 2:
        row.table[:2] = row.table[:2].flip(0)


# ---- bugs in the attention -------------------------------------------------------------------------------------------


def in_attention(broken: Callable) -> Callable[[LLM], None]:
    """A bug in the attention over pages: `broken(attend, query, caches, tables, context_lens, query_lens)`."""

    right = TorchOperations()

    class Broken(TorchOperations):
        def plan_attention(self, *pages):
            self.pages = pages[:3]  # the attention itself gets only the plan, which is the same for all layers
            return right.plan_attention(*pages)

        def paged_attention_forward(self, query, keys, values, *rest):
            return broken(right.paged_attention_forward, query, (keys, values), *self.pages)

    def plant(llm: LLM) -> None:
        llm.runner.operations = Broken()

    return plant


def wrong_kv_head(attend, query, caches, tables, context_lens, query_lens):
    """Query head h reads KV head h % num_kv_heads instead of h // group."""
    num_heads, num_kv_heads = query.shape[1], caches[0].shape[2]
    # Heads in the order in which each lies where the right attention reads the KV head that it wants.
    order = torch.arange(num_heads, device=query.device).view(-1, num_kv_heads).T.flatten()
    out = attend(query[:, order].contiguous(), *caches, tables, context_lens, query_lens, None, None)
    return out[:, order.argsort()].contiguous()


def scale_by(power: float, attend, query, caches, tables, context_lens, query_lens):
    """Scores are multiplied with head_dim ** power; right is -1/2."""
    scale = query.shape[-1] ** power
    return attend(query, *caches, tables, context_lens, query_lens, scale, None)


def no_causal_mask(attend, query, caches, tables, context_lens, query_lens):
    """Every token of a chunk sees the whole chunk."""
    lens = [n for n, queries in zip(context_lens, query_lens, strict=True) for _ in range(queries)]
    return _token_by_token(attend, query, caches, tables, lens, query_lens)


def mask_from_the_start(attend, query, caches, tables, context_lens, query_lens):
    """The causal mask begins at the first key, as if nothing came before the chunk: token i of it sees i + 1 keys."""
    lens = [i + 1 for queries in query_lens for i in range(queries)]
    if max(query_lens) == 1:  # decode has no mask
        lens = context_lens
    return _token_by_token(attend, query, caches, tables, lens, query_lens)


def _token_by_token(attend, query, caches, tables, context_lens, query_lens):
    """Attention in which each token is asked for as if it were the last of `context_lens` of its own."""
    rows = tables.repeat_interleave(torch.tensor(query_lens, device=tables.device), dim=0)
    return attend(query, *caches, rows, context_lens, [1] * len(context_lens), None, None)


# ---- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bug:
    """`plant` puts it into an engine; `setup` names the problems where it shows.

    `fall`: at least so much of the accuracy is lost there; 0: it has no effect at all. Where only some answers can be
    hit, it is small. A missing 1 / sqrt(head_dim) is such a case: this model looks at one key so sharply that sharper
    scores choose the same key. Only a count needs a mean of several.
    """

    setup: str
    fall: float
    plant: Callable[[LLM], None]


def _another(page_of: Callable[[Row], int]) -> Callable[[LLM], None]:
    return lambda llm: in_batch(AnothersPage(page_of))(llm)  # what it remembers is of one engine


def _scale(power: float) -> Callable[[LLM], None]:
    return in_attention(functools.partial(scale_by, power))


CACHED, CHUNKS = "lookup 64, table cached", "lookup 32, in chunks"
BUGS = {
    "new tokens count from 0 after a cached prefix": Bug(CACHED, 0.3, in_batch(restart_after_prefix)),
    "each chunk of a prompt counts from 0": Bug(CHUNKS, 0.3, in_batch(restart_chunk)),
    "decode position + 1": Bug("reverse", 0.3, in_batch(functools.partial(shift, by=1))),
    "decode position - 1": Bug("reverse", 0.3, in_batch(functools.partial(shift, by=-1))),
    "decode position stuck": Bug("reverse", 0.3, in_batch(stuck)),
    "the page with the answer is lost": Bug(CACHED, 0.3, in_batch(functools.partial(drop, page_of=asked_page))),
    "the page with the answer is another's": Bug(CACHED, 0.3, _another(asked_page)),
    "a random page is lost": Bug(
        "lookup 16, table cached", 0.1, in_batch(functools.partial(drop, page_of=random_page))
    ),
    "a random page is another's": Bug("lookup 16, table cached", 0.1, _another(random_page)),
    "a chunk sees itself only": Bug(CHUNKS, 0.3, in_batch(chunk_alone)),
    "the last slot of every page is lost": Bug("lookup 64, last slots", 0.3, in_batch(lose_last_slot)),
    "context one token short in decode": Bug("sort 8 items", 0.3, in_batch(one_short)),
    "wrong KV head": Bug(CACHED, 0.3, in_attention(wrong_kv_head)),
    "no causal mask within a chunk": Bug("sums, two carries", 0.3, in_attention(no_causal_mask)),
    "the causal mask of a chunk begins at key 0": Bug(CHUNKS, 0.3, in_attention(mask_from_the_start)),
    "no 1 / sqrt(head_dim)": Bug("count among 8", 0.1, _scale(0.0)),
    "1 / sqrt(head_dim) twice": Bug("lookup 200, table cached", 0.3, _scale(-1.0)),
    "all positions + 1": Bug(CACHED, 0.0, in_batch(functools.partial(shift, by=1, only_decode=False))),
    "two pages exchanged on reading": Bug(CACHED, 0.0, in_batch(swap_pages)),
}


def engine(setup: str, bug: Bug | None = None, model: Any = "tiny") -> LLM:
    """An engine as a setup wants it, with `bug` planted."""
    options = {"num_blocks": 1200, "graphs": False} | SETUPS[setup].options
    llm = LLM(model, block_size=BLOCK_SIZE, **options)
    if bug:
        bug.plant(llm)
    return llm


def answers_right(setup: str, bug: Bug | None = None, model: Any = "tiny", llm: LLM | None = None) -> float:
    """The share of right answers to the problems of a setup, from `llm` or else from an engine with `bug` planted."""
    llm = llm or engine(setup, bug, model)
    asked = SETUPS[setup].problems()
    prompts = [problem.messages for problem in asked]
    params = SamplingParams(temperature=0, max_tokens=20)
    if SETUPS[setup].cached:
        first_of_table = {prompt[0]["content"]: prompt for prompt in prompts}
        llm.generate(list(first_of_table.values()), params)
    outputs = llm.generate(prompts, params)
    return problems.accuracy([output.text for output in outputs], asked)


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = Parser(description="Print what each planted bug does to the tiny model's answers, in percent right.")
    parser.parse_args(arguments)
    torch.set_num_threads(1)  # a model so small is not faster on two
    without = functools.cache(answers_right)
    print(f"| {'bug':46s} | {'problems':24s} | without | with |")
    print(f"|{'-' * 48}|{'-' * 26}|---|---|")
    for name, bug in BUGS.items():
        right, wrong = 100 * without(bug.setup), 100 * answers_right(bug.setup, bug)
        print(f"| {name:46s} | {bug.setup:24s} | {right:7.0f} | {wrong:4.0f} |", flush=True)


if __name__ == "__main__":
    main()
