"""Train the tiny model from nothing: its tokenizer, its data and its weights.

    python -m yaie.models.tiny.train --out DIR                  on a GPU when there is one, else on the CPU
    python -m yaie.models.tiny.train --out DIR --minutes 8      the same schedule, made to fit into eight minutes
    python -m yaie.models.tiny.train --out DIR --device cpu --batch-tokens 4096 --scale 0.02

Worker processes write and encode the documents. Batch i of a stage depends only on the seed, the stage and i (and on
`--batch-tokens`), whatever the number of workers. Each stage writes DIR/stageN.safetensors; `--start-stage N` goes on
from there. A stage starts with fresh optimizers, so with the same `--scale` an interrupted run sees the same data.

The model is a Llama so small that it would normally learn to look up values only after very long training: it first
learns to answer with any value of the table and stays there. An auxiliary loss, in training only, removes that
plateau: the residual stream after the second block must name each of the four previous tokens, which is what an
attention head needs to find `bob=` and read on (Olsson et al. 2022, "In-context Learning and Induction Heads").
Matrices are trained by Muon (Jordan et al. 2024), the rest by AdamW. On a GPU the products are made in bfloat16, so
the weights that answer in training are rounded as those of the checkpoint are.
"""

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from yaie.models.tiny import data

SPECIAL_TOKENS = ["<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
PAD, BOS, END = range(3)
CHAT_TEMPLATE = (
    "{{ '<|bos|>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 1024,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": BOS,
    "eos_token_id": END,
    "pad_token_id": PAD,
    "torch_dtype": "bfloat16",
}
HIDDEN, INTER, LAYERS = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["num_hidden_layers"]
HEADS, KV_HEADS, HEAD_DIM = CONFIG["num_attention_heads"], CONFIG["num_key_value_heads"], CONFIG["head_dim"]
AUX_BLOCK, AUX_TOKENS = 1, 4
# What a target token is part of; the first stands for tokens that are given, not trained.
SKILLS = ["given", "lookup", "updated", "unknown", "ok", "addition", *data.LIST_SKILLS, "story"]
LOSS_WEIGHT = [{"given": 0.0, "ok": 0.2, "story": 0.3}.get(skill, 1.0) for skill in SKILLS]
MUON_LR, ADAM_LR, WARMUP_STEPS = 0.02, 3e-3, 50


@dataclass(frozen=True)
class Shape:
    """The documents of a batch: `context` tokens each, with tables of up to `pairs`."""

    context: int
    pairs: int


@dataclass(frozen=True)
class Stage:
    """Part of the curriculum: millions of `tokens`, the share of steps each batch shape gets, and what `data.Mix` says.

    `aux` is the weight of the auxiliary loss. The learning rate goes in a line from `lr[0]` to `lr[1]` times its base.
    """

    tokens: float
    shapes: dict[Shape, float]
    digits: int = 3
    items: int = 8
    tables: float = 0.5
    unknown: float = 0.05
    mixed: float = 0.18
    aux: float = 0.0
    lr: tuple[float, float] = (1.0, 1.0)

    def steps(self, batch_tokens: int, scale: float = 1.0) -> int:
        """How many batches of about `batch_tokens` make `scale` times the stage's tokens."""
        return max(1, round(self.tokens * 1e6 * scale / batch_tokens))

    def lr_factor(self, step: int, steps: int) -> float:
        """What the base learning rates are multiplied by in `step` of `steps`, counted from 0."""
        line = np.interp(step, (0, max(1, steps - 1)), self.lr)
        return float(line) * min(1.0, (step + 1) / WARMUP_STEPS)


SHORTEST, SHORT, MEDIUM = Shape(128, 10), Shape(256, 24), Shape(512, 64)
LONG, LONGER, LONGEST = Shape(1024, 119), Shape(2048, 200), Shape(4096, 500)

# Later stages keep short documents: without them small tables get worse again. Long tables of random keys are what
# is learned last, so the last stages have many; from stage 2 on, half of the documents are sums and lists.
STAGES = [
    Stage(30, {SHORTEST: 1.0}, digits=2, items=5, tables=0.7, unknown=0.0, aux=0.3),
    Stage(50, {SHORT: 0.8, SHORTEST: 0.2}, items=6, aux=0.1),
    Stage(70, {MEDIUM: 0.6, SHORT: 0.4}, aux=0.03),
    Stage(150, {LONGER: 0.3, LONG: 0.3, MEDIUM: 0.2, SHORT: 0.1, SHORTEST: 0.1}, mixed=0.3),
    Stage(
        400,
        {LONGEST: 0.1, LONGER: 0.3, LONG: 0.2, MEDIUM: 0.15, SHORT: 0.1, SHORTEST: 0.15},
        mixed=0.3,
        lr=(1.0, 0.005),
    ),
]


# ---- the model -----------------------------------------------------------------------------------------------------


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(HIDDEN, HEADS * HEAD_DIM, bias=False)
        self.k_proj = nn.Linear(HIDDEN, KV_HEADS * HEAD_DIM, bias=False)
        self.v_proj = nn.Linear(HIDDEN, KV_HEADS * HEAD_DIM, bias=False)
        self.o_proj = nn.Linear(HEADS * HEAD_DIM, HIDDEN, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            proj(x).view(batch, length, -1, HEAD_DIM).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(HIDDEN, INTER, bias=False)
        self.up_proj = nn.Linear(HIDDEN, INTER, bias=False)
        self.down_proj = nn.Linear(INTER, HIDDEN, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(HIDDEN, CONFIG["rms_norm_eps"])
        self.self_attn = Attention()
        self.post_attention_layernorm = nn.RMSNorm(HIDDEN, CONFIG["rms_norm_eps"])
        self.mlp = Mlp()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class TrainingLlama(nn.Module):
    """The tiny Llama for training. Parameters are named as in a Hugging Face checkpoint, after `model.`"""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(CONFIG["vocab_size"], HIDDEN)
        self.layers = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.RMSNorm(HIDDEN, CONFIG["rms_norm_eps"])
        inverse = CONFIG["rope_theta"] ** -(torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        angles = torch.outer(torch.arange(CONFIG["max_position_embeddings"]), inverse)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self._init_weights()

    def _init_weights(self) -> None:
        for name, param in self.named_parameters():
            if param.ndim == 2:
                scale = 0.3 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                nn.init.normal_(param, std=0.1 if name.startswith("embed") else scale * param.shape[1] ** -0.5)
        # Queries start near their key head: equal tokens attend to each other from the beginning.
        for block in self.layers:
            q, k = block.self_attn.q_proj.weight.data, block.self_attn.k_proj.weight.data
            keys = k.view(KV_HEADS, HEAD_DIM, HIDDEN).repeat_interleave(HEADS // KV_HEADS, 0).view_as(q)
            q.mul_(0.6).add_(keys, alpha=0.8)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids [B, T] -> final hidden states [B, T, H] and the residual stream after block `AUX_BLOCK`."""
        x = tap = self.embed_tokens(ids)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for index, block in enumerate(self.layers):
            x = block(x, cos, sin)
            tap = x if index == AUX_BLOCK else tap
        return self.norm(x), tap


def answer_loss(hidden: Tensor, table: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted mean loss of `hidden` [B, T, H] for `targets` [B, T], and which of them would be picked."""
    logits = F.linear(hidden, table)
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    loss = (losses * weights.flatten()).sum() / weights.sum()
    return loss, logits.argmax(-1) == targets


def auxiliary_loss(model: TrainingLlama, probes: Tensor, tap: Tensor, ids: Tensor) -> Tensor:
    """How badly `probes[j]` reads the (j+1)-th previous token from `tap`, at a random quarter of the positions.

    The positions are the same in every row and are drawn where `ids` lie, so that a GPU need not wait for the CPU.
    """
    length = ids.shape[1]
    chosen = AUX_TOKENS + torch.randperm(length - AUX_TOKENS, device=ids.device)[: length // 4]
    states = F.rms_norm(tap.index_select(1, chosen), (HIDDEN,)).flatten(0, 1)
    table = model.embed_tokens.weight.detach()
    losses = [
        F.cross_entropy(F.linear(states @ probe, table), ids.index_select(1, chosen - j - 1).flatten())
        for j, probe in enumerate(probes)
    ]
    return torch.stack(losses).mean()


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix update is made nearly orthogonal by five Newton-Schulz steps (Jordan et al. 2024)."""

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape = defaultdict(list)  # matrices of one shape are orthogonalised in one batch
            for param in group["params"]:
                by_shape[param.shape].append(param)
            for (rows, cols), params in by_shape.items():
                grad = torch.stack([param.grad for param in params])
                mean = self.state[params[0]].setdefault("mean", torch.zeros_like(grad))
                mean.lerp_(grad, 1 - group["momentum"])
                update = orthogonal(grad.lerp(mean, group["momentum"]))
                torch._foreach_mul_(params, 1 - group["lr"] * group["decay"])
                scale = group["lr"] * max(1, rows / cols) ** 0.5
                torch._foreach_add_(params, update.unbind(), alpha=-scale)


def orthogonal(x: Tensor) -> Tensor:
    """[N, R, C] -> matrices with the same singular vectors and singular values near one."""
    tall = x.shape[1] > x.shape[2]
    y = x.mT if tall else x
    y = y / (y.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = y @ y.mT
        y = 3.4445 * y + (-4.7750 * a + 2.0315 * a @ a) @ y
    return y.mT if tall else y


# ---- tokens --------------------------------------------------------------------------------------------------------


def train_tokenizer() -> Tokenizer:
    """Byte-level byte pair encoding in which every digit is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"],
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(data.tokenizer_corpus(Random(0)), trainer)
    return tokenizer


class Encoder:
    """Chats to token ids, loss weights and skills, in the format of `CHAT_TEMPLATE`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.cache = tokenizer, {}

    def text(self, text: str) -> list[int]:
        if len(text) > 24:
            return self.tokenizer.encode(text).ids
        if text not in self.cache:
            self.cache[text] = self.tokenizer.encode(text).ids
        return self.cache[text]

    def chat(self, chat: data.Chat, limit: int) -> tuple[list[int], list[int]]:
        """The first `limit` + 1 token ids or fewer, and of each the index in `SKILLS`.

        The role token is given; the answer and its end token are trained.
        """
        ids, skills = [BOS], [0]
        for role, content, skill in chat:
            body = [*self.text(content), END]
            ids += [SPECIAL_TOKENS.index(f"<|{role}|>"), *body]
            skills += [0] + [SKILLS.index(skill or "given")] * len(body)
            if len(ids) > limit:
                break
        return ids[: limit + 1], skills[: limit + 1]

    def batch(self, chats: list[data.Chat], context: int) -> tuple[Tensor, Tensor]:
        """Token ids and skills, each [B, context + 1], in small integers: they travel between processes."""
        ids = np.full((len(chats), context + 1), PAD, dtype=np.int16)
        skills = np.zeros(ids.shape, dtype=np.uint8)
        for row, chat in enumerate(chats):
            tokens, parts = self.chat(chat, context)
            ids[row, : len(tokens)], skills[row, : len(tokens)] = tokens, parts
        return torch.from_numpy(ids), torch.from_numpy(skills)


class Batches(Dataset):
    """The batches of a stage by number. Each has random numbers of its own, so any process may make any of them."""

    def __init__(self, encoder: Encoder, number: int, stage: Stage, seed: int, batch_tokens: int, steps: int) -> None:
        self.encoder, self.stage, self.name = encoder, stage, f"{seed}-{number}"
        self.batch_tokens, self.steps = batch_tokens, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng, stage = Random(f"{self.name}-{index}"), self.stage
        shape = rng.choices(list(stage.shapes), weights=list(stage.shapes.values()))[0]
        mix = data.Mix(shape.context, shape.pairs, stage.digits, stage.items, stage.tables, stage.unknown, stage.mixed)
        documents = max(1, self.batch_tokens // shape.context)
        return self.encoder.batch([data.document(rng, mix) for _ in range(documents)], shape.context)


# ---- training ------------------------------------------------------------------------------------------------------


class Progress:
    """Loss and accuracy per skill since the last line printed, added up on the device: reading them waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.start, self.steps = time.perf_counter(), 0
        self.loss = torch.zeros((), device=device)
        self.right, self.total = torch.zeros(2, len(SKILLS), dtype=torch.long, device=device)

    def add(self, loss: Tensor, right: Tensor, skills: Tensor) -> None:
        self.steps += 1
        self.loss += loss.detach()
        self.right.index_add_(0, skills.flatten(), right.flatten().long())
        self.total.index_add_(0, skills.flatten(), torch.ones_like(skills).flatten())

    def report(self, head: str) -> None:
        counts = zip(SKILLS[1:], self.right.tolist()[1:], self.total.tolist()[1:], strict=True)
        skills = " ".join(f"{skill} {100 * right / total:.1f}" for skill, right, total in counts if total)
        loss = self.loss.item() / self.steps
        print(f"{head} loss {loss:.4f} | {skills} | {time.perf_counter() - self.start:.1f} s", flush=True)
        self.steps = 0
        for counter in (self.loss, self.right, self.total):
            counter.zero_()


class Trainer:
    """The weights in training and what all stages share."""

    def __init__(self, encoder: Encoder, device: torch.device, seed: int, batch_tokens: int, workers: int) -> None:
        self.encoder, self.device, self.seed = encoder, device, seed
        self.batch_tokens, self.workers = batch_tokens, workers
        torch.manual_seed(seed)
        self.model = TrainingLlama().to(device)
        probes = torch.randn(AUX_TOKENS, HIDDEN, HIDDEN) * HIDDEN**-0.5
        self.probes = nn.Parameter(probes.to(device))
        self.loss_weight = torch.tensor(LOSS_WEIGHT, device=device)
        self.answer_loss = answer_loss

    def compile(self) -> None:
        """Fuse what surrounds the products and the attention. Needs a C++ compiler, and Triton for a GPU."""
        for block in self.model.layers:  # they share one compilation
            block.compile()
        self.answer_loss = torch.compile(answer_loss)

    def weights(self) -> dict[str, Tensor]:
        """All that a later stage depends on; the tensors are those in training, not copies."""
        return dict(self.model.named_parameters()) | {"probes": self.probes}

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor]) -> None:
        """Take over what `weights()` gave, perhaps in another run."""
        own = self.weights()
        if own.keys() != weights.keys():
            raise ValueError(f"not weights of this model: {sorted(own.keys() ^ weights.keys())} differ")
        for name, value in weights.items():
            own[name].copy_(value)

    def batches(self, number: int, stage: Stage, steps: int) -> DataLoader:
        """The batches of a stage, in order, made ahead by worker processes."""
        dataset = Batches(self.encoder, number, stage, self.seed, self.batch_tokens, steps)
        pinned = self.device.type == "cuda"
        return DataLoader(dataset, batch_size=None, num_workers=self.workers, pin_memory=pinned)

    def loss(self, ids: Tensor, skills: Tensor, aux: float, progress: Progress) -> Tensor:
        """What a step minimises, for ids and skills [B, T + 1]."""
        given, targets, skills = ids[:, :-1].long(), ids[:, 1:].long(), skills[:, 1:].long()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            hidden, tap = self.model(given)
            weights = self.loss_weight[skills]
            loss, right = self.answer_loss(hidden, self.model.embed_tokens.weight, targets, weights)
            progress.add(loss, right, skills)
            if aux:
                loss = loss + aux * auxiliary_loss(self.model, self.probes, tap, given)
        return loss

    def run_stage(self, number: int, stage: Stage, steps: int, *, report: bool = True) -> Iterator[int]:
        """Train for `steps` with fresh optimizers; yields how many are done. Never waits for a GPU but to report."""
        torch.manual_seed(1000 * self.seed + number)
        named = list(self.model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and not name.startswith("embed")]
        others = [p for name, p in named if p.ndim == 1 or name.startswith("embed")]
        muon = Muon(matrices, lr=MUON_LR)
        adam = torch.optim.AdamW([*others, self.probes], lr=ADAM_LR, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        progress = Progress(self.device)
        for step, batch in enumerate(self.batches(number, stage, steps)):
            factor = stage.lr_factor(step, steps)
            muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = MUON_LR * factor, ADAM_LR * factor
            ids, skills = (tensor.to(self.device, non_blocking=True) for tensor in batch)
            self.loss(ids, skills, stage.aux, progress).backward()
            nn.utils.clip_grad_norm_(others, 1.0)
            for optimizer in (muon, adam):
                optimizer.step()
                optimizer.zero_grad()
            if report and ((step + 1) % 100 == 0 or step + 1 == steps):
                progress.report(f"stage {number} step {step + 1}/{steps}")
            yield step + 1

    def seconds_per_step(self, number: int, stage: Stage, shape: Shape) -> float:
        """Measured on batches of one shape. The weights are left as they were.

        The first steps do not count: they compile, and use up what the workers made meanwhile.
        """
        before = {name: value.detach().clone() for name, value in self.weights().items()}
        warm, timed = (60, 60) if self.device.type == "cuda" else (1, 2)
        start = 0.0
        for step in self.run_stage(number, replace(stage, shapes={shape: 1.0}), warm + timed, report=False):
            if step in (warm, warm + timed) and self.device.type == "cuda":
                torch.cuda.synchronize()
            if step == warm:
                start = time.perf_counter()
        seconds = (time.perf_counter() - start) / timed
        self.load(before)
        print(f"{shape}: {1000 * seconds:.1f} ms a step", flush=True)
        return seconds

    def scale_for(self, seconds: float, stages: dict[int, Stage]) -> float:
        """What to multiply the tokens of `stages` with so that training takes about `seconds`, a little less.

        The schedule is fixed before it starts: cut off at the end it would miss its smallest learning rates.
        """
        start, measured = time.perf_counter(), {}
        for number, stage in stages.items():
            for shape in stage.shapes:
                if shape not in measured:  # where it first comes up, with the auxiliary loss
                    measured[shape] = self.seconds_per_step(number, stage, shape)
        planned = 0.0
        for stage in stages.values():
            mean = sum(share * measured[shape] for shape, share in stage.shapes.items())
            planned += stage.steps(self.batch_tokens) * mean / sum(stage.shapes.values())
        left = seconds - (time.perf_counter() - start)
        if left <= 0:
            raise ValueError("--minutes leaves no time to train: measuring the speed took all of it")
        return 0.93 * left / planned


def save_checkpoint(model: TrainingLlama, out: Path) -> None:
    """Write the weights in bfloat16 and the configuration, as `LlamaForCausalLM` expects them."""
    weights = {f"model.{name}": p.detach().bfloat16().contiguous() for name, p in model.named_parameters()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


def save_tokenizer(tokenizer: Tokenizer, out: Path) -> None:
    tokenizer.save(str(out / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|bos|>",
        "eos_token": "<|end|>",
        "pad_token": "<|pad|>",
        "chat_template": CHAT_TEMPLATE,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the tiny model from nothing.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint, made if missing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch-tokens", type=int, default=32768, help="tokens of a step, about")
    parser.add_argument("--start-stage", type=int, default=1, help="go on from OUT/stage(N-1).safetensors")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--scale", type=float, default=1.0, help="multiplies the tokens of every stage")
    length.add_argument("--minutes", type=float, help="choose the scale so that the run takes this long")
    parser.add_argument(
        "--workers", type=int, default=max(0, (os.cpu_count() or 1) - 1), help="processes that make data"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads that train")
    parser.add_argument("--no-compile", action="store_true", help="do without torch.compile")
    return parser.parse_args()


def main() -> None:
    start, args = time.perf_counter(), parse_arguments()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not survive the forks of the data loader
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    save_tokenizer(tokenizer, args.out)
    trainer = Trainer(Encoder(tokenizer), torch.device(args.device), args.seed, args.batch_tokens, args.workers)
    if not args.no_compile:
        trainer.compile()
    if args.start_stage > 1:
        trainer.load(load_file(args.out / f"stage{args.start_stage - 1}.safetensors"))
    stages = {n: stage for n, stage in enumerate(STAGES, 1) if n >= args.start_stage}
    scale = args.scale
    if args.minutes:
        scale = trainer.scale_for(60 * args.minutes - (time.perf_counter() - start), stages)
    print(f"scale {scale:.4f}, {time.perf_counter() - start:.0f} s before the first stage", flush=True)
    tokens = 0
    for number, stage in stages.items():
        steps = stage.steps(args.batch_tokens, scale)
        for _ in trainer.run_stage(number, stage, steps):
            tokens += args.batch_tokens
        save_file({n: w.detach() for n, w in trainer.weights().items()}, args.out / f"stage{number}.safetensors")
        save_checkpoint(trainer.model, args.out)
    name = torch.cuda.get_device_name() if trainer.device.type == "cuda" else "CPU"
    facts = {"scale": scale, "tokens": tokens, "seconds": round(time.perf_counter() - start), "device": name}
    facts |= {"torch": torch.__version__, "arguments": {k: str(v) for k, v in vars(args).items()}}
    (args.out / "run.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
