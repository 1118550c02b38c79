"""Measure the tiny model: `python -m yaie.models.tiny.evaluate` prints a table of skills.

    python -m yaie.models.tiny.evaluate --model DIR --device cuda --dtype bfloat16 --json DIR/skills.json

An answer counts when every token of it, and the end token after it, is what greedy decoding picks. That is read from
one forward pass over prompt and answer: if every pick given the right tokens before it is right, then greedy decoding
writes exactly that answer, and if not, it writes another.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jinja2 import Template
from tokenizers import Tokenizer
from torch import Tensor

from yaie.models.tiny import problems
from yaie.models.tiny.problems import Problem

FOLDER = Path(__file__).parent
Logits = Callable[[Tensor], Tensor]  # token ids [B, T] -> logits [B, T, vocabulary], causal

GOALS = {f"lookup {n}": 0.99 for n in (4, 16, 32, 64, 100)}
GOALS |= {"lookup 200 (mixed keys)": 0.95, "updates 8": 0.97, "updates 24": 0.97}
GOALS |= {f"addition {digits}": 0.99 for digits in (1, 2, 3)} | dict.fromkeys(("copy", "reverse", "sort"), 0.99)


class ChatEncoder:
    """Chats to token ids as `folder`'s tokenizer and chat template say."""

    def __init__(self, folder: Path = FOLDER) -> None:
        config = json.loads((folder / "tokenizer_config.json").read_text())
        self.template = Template(config["chat_template"])
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.end_token = config["eos_token"]

    def prompt(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """The ids of a chat up to where the assistant's answer begins."""
        return self.tokenizer.encode(self.template.render(messages=messages, add_generation_prompt=True)).ids

    def answer(self, text: str) -> list[int]:
        """The ids of an answer and its end token."""
        return self.tokenizer.encode(text + self.end_token).ids


@torch.no_grad()
def right_answers(logits: Logits, encoder: ChatEncoder, asked: Sequence[Problem], batch_size: int = 8) -> list[bool]:
    """For each problem: does greedy decoding with `logits` write exactly the right answer and stop?

    Rows of a batch are padded at the end, which a causal model cannot see.
    """
    right: list[bool] = []
    for start in range(0, len(asked), batch_size):
        pairs = [(encoder.prompt(p.messages), encoder.answer(p.answer)) for p in asked[start : start + batch_size]]
        ids = torch.zeros(len(pairs), max(len(p) + len(a) for p, a in pairs), dtype=torch.long)
        for row, (prompt, answer) in enumerate(pairs):
            ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        picks = logits(ids).argmax(-1).cpu()
        for row, (prompt, answer) in enumerate(pairs):
            first = len(prompt) - 1
            right.append(picks[row, first : first + len(answer)].tolist() == answer)
    return right


def transformers_logits(folder: Path = FOLDER, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Logits:
    """The checkpoint in `folder` run by `transformers` (the test extra) on `device`."""
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder, dtype=dtype).eval().to(device)
    return lambda ids: model(ids.to(device)).logits


def main() -> None:
    parser = argparse.ArgumentParser(description="Print how many held-out problems of each skill are answered right.")
    parser.add_argument(
        "--model", type=Path, default=FOLDER, help="folder of the checkpoint (default: the shipped one)"
    )
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=8, help="problems answered at a time")
    parser.add_argument("--count", type=int, default=300, help="problems for each skill")
    parser.add_argument("--only", default="", help="only skills whose name contains this")
    parser.add_argument("--json", type=Path, help="write the table to this file too")
    args = parser.parse_args()
    encoder = ChatEncoder(args.model)
    logits = transformers_logits(args.model, getattr(torch, args.dtype), args.device)
    print(f"{'skill':28s} {'right':>7s} {'goal':>5s} {'problems':>9s} {'prompt tokens':>14s}")
    start, rows = time.perf_counter(), []
    for name, asked in problems.suite(args.count).items():
        if args.only in name:
            share = sum(right_answers(logits, encoder, asked, args.batch_size)) / len(asked)
            tokens = sum(len(encoder.prompt(p.messages)) for p in asked) / len(asked)
            goal = f"{100 * GOALS[name]:.0f}" if name in GOALS else "-"
            print(f"{name:28s} {100 * share:6.1f}% {goal:>5s} {len(asked):9d} {tokens:14.0f}", flush=True)
            rows.append({"skill": name, "right": share, "goal": GOALS.get(name), "problems": len(asked)})
            rows[-1]["prompt_tokens"] = round(tokens)
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else "CPU"
    seconds = time.perf_counter() - start
    print(f"{args.model.name}, {args.dtype}, {name}, torch {torch.__version__}, {seconds:.0f} s")
    if args.json:
        facts = {"model": args.model.name, "dtype": args.dtype, "device": name, "torch": torch.__version__}
        args.json.write_text(json.dumps(facts | {"skills": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
