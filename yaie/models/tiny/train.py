"""Train the tiny model from nothing: its tokenizer, its data and its weights.

    python -m yaie.models.tiny.train --out DIR

Takes about 6,000 seconds of one CPU thread (see MODEL_CARD.md). Each stage writes DIR/stageN.safetensors;
`--start-stage N` goes on from there.
A stage depends only on the weights it starts from and on the seed, so an interrupted run ends with the same weights.

The model is a Llama so small that it would normally learn to look up values only after very long training: it first
learns to answer with any value of the table and stays there. An auxiliary loss, in training only, removes that
plateau: the residual stream after the second block must name each of the four previous tokens, which is what an
attention head needs to find `bob=` and read on (Olsson et al. 2022, "In-context Learning and Induction Heads").
Matrices are trained by Muon (Jordan et al. 2024), the rest by AdamW.
"""

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

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
LOSS_WEIGHT = defaultdict(lambda: 1.0, {"": 0.0, "ok": 0.2, "story": 0.3})


@dataclass(frozen=True)
class Shape:
    """A batch: `docs` rows of `context` tokens, with tables of up to `pairs`."""

    context: int
    docs: int
    pairs: int


@dataclass(frozen=True)
class Stage:
    """Part of the curriculum: millions of `tokens`, the share of steps each batch shape gets, and what `data.Mix` says.

    `aux` is the weight of the auxiliary loss. `lr` is a line through (millions of tokens, factor) points.
    """

    tokens: float
    shapes: dict[Shape, float]
    digits: int = 3
    items: int = 8
    tables: float = 0.55
    unknown: float = 0.03
    aux: float = 0.0
    lr: tuple[tuple[float, float], ...] = ((0.0, 1.0),)

    def lr_factor(self, tokens_seen: int) -> float:
        """What the base learning rates are multiplied by after `tokens_seen` tokens of this stage."""
        return float(np.interp(tokens_seen / 1e6, *zip(*self.lr, strict=True)))


SHORTEST, SHORT, MEDIUM = Shape(128, 24, 10), Shape(256, 16, 24), Shape(512, 8, 64)
LONG, LONGEST = Shape(1024, 5, 119), Shape(1536, 3, 200)

# Later stages keep short documents: without them small tables get worse again.
STAGES = [
    Stage(2, {SHORTEST: 1.0}, digits=2, items=5, tables=0.7, unknown=0.0, aux=0.3),
    Stage(4, {SHORT: 0.8, SHORTEST: 0.2}, items=6, aux=0.1),
    Stage(4, {MEDIUM: 0.6, SHORT: 0.4}, aux=0.03),
    # Planned for 6 million tokens and shortened while it ran, hence the step in the learning rate.
    Stage(
        4.8,
        {LONGEST: 0.3, LONG: 0.3, MEDIUM: 0.2, SHORT: 0.2},
        lr=((0.0, 1.0), (4.3531, 0.28899), (4.3531, 0.11124), (4.8, 0.02)),
    ),
    # Additions and lists had had too few tokens: after stage 4, 92% of three-digit sums and 90% of sorts were right.
    Stage(
        0.9, {SHORTEST: 0.8, SHORT: 0.1, MEDIUM: 0.1}, tables=0.25, lr=((0.0, 0.4), (0.5, 0.25), (0.9, 0.02))
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
                nn.init.normal_(
                    param, std=0.1 if name.startswith("embed") else scale * param.shape[1] ** -0.5
                )
        for (
            block
        ) in self.layers:  # queries near their key head: equal tokens attend to each other from the start
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


def auxiliary_loss(model: TrainingLlama, probes: Tensor, tap: Tensor, ids: Tensor) -> Tensor:
    """How badly `probes[j]` reads the (j+1)-th previous token from `tap`, at a random quarter of the positions."""
    chosen = torch.rand(ids.shape) < 0.25
    chosen[:, :AUX_TOKENS] = False
    states = F.rms_norm(tap[chosen], (HIDDEN,))
    table = model.embed_tokens.weight.detach()
    losses = [
        F.cross_entropy(F.linear(states @ probe, table), ids.roll(j + 1, 1)[chosen])
        for j, probe in enumerate(probes)
    ]
    return torch.stack(losses).mean()


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix update is made nearly orthogonal by five Newton-Schulz steps (Jordan et al. 2024)."""

    def __init__(
        self, params: list[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape = defaultdict(list)  # matrices of one shape are orthogonalised in one batch
            for param in group["params"]:
                mean = self.state[param].setdefault("mean", torch.zeros_like(param))
                mean.lerp_(param.grad, 1 - group["momentum"])
                update = param.grad.lerp(mean, group["momentum"])
                by_shape[param.shape].append((param, update))
            for (rows, cols), pairs in by_shape.items():
                scale = group["lr"] * max(1, rows / cols) ** 0.5
                for (param, _), update in zip(
                    pairs, orthogonal(torch.stack([u for _, u in pairs])), strict=True
                ):
                    param.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-scale)


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

    def chat(self, chat: data.Chat, limit: int) -> tuple[list[int], list[float], list[str]]:
        """The first `limit` tokens or so; the role token is given, the answer and its end token are trained."""
        ids, weights, skills = [BOS], [0.0], [""]
        for role, content, skill in chat:
            body = [*self.text(content), END]
            ids += [SPECIAL_TOKENS.index(f"<|{role}|>"), *body]
            weights += [0.0] + [LOSS_WEIGHT[skill]] * len(body)
            skills += [""] + [skill] * len(body)
            if len(ids) > limit:
                break
        return ids[: limit + 1], weights[: limit + 1], skills[: limit + 1]

    def batch(self, chats: list[data.Chat], context: int) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        """Inputs, targets and weights, each [B, context], and the skill of every target whose weight is not 0."""
        ids = torch.full((len(chats), context + 1), PAD)
        weights = torch.zeros(ids.shape)
        trained = []
        for row, chat in enumerate(chats):
            tokens, weight, skills = self.chat(chat, context)
            ids[row, : len(tokens)], weights[row, : len(tokens)] = torch.tensor(tokens), torch.tensor(weight)
            trained += [skill for skill in skills if skill]
        return ids[:, :-1], ids[:, 1:], weights[:, 1:], trained


# ---- training ------------------------------------------------------------------------------------------------------


class Progress:
    """Accuracy per skill over the steps since the last line printed."""

    def __init__(self) -> None:
        self.start, self.losses, self.right, self.total = time.time(), [], defaultdict(int), defaultdict(int)

    def add(self, loss: float, right: list[bool], skills: list[str]) -> None:
        self.losses.append(loss)
        for skill, ok in zip(skills, right, strict=True):
            self.right[skill] += ok
            self.total[skill] += 1

    def report(self, head: str) -> None:
        skills = " ".join(f"{s} {100 * self.right[s] / self.total[s]:.1f}" for s in sorted(self.total))
        loss = sum(self.losses) / len(self.losses)
        clock = f"{time.time() - self.start:.0f}s wall {time.process_time():.0f}s cpu"
        print(f"{head} loss {loss:.3f} | {skills} | {clock}", flush=True)
        self.losses.clear(), self.right.clear(), self.total.clear()


def train_stage(
    number: int, stage: Stage, seed: int, model: TrainingLlama, probes: nn.Parameter, encoder: Encoder
) -> None:
    """Run one stage with fresh optimizers; its data and masks come from the seed and the stage's number."""
    rng = Random(f"{seed}-{number}")
    torch.manual_seed(1000 * seed + number)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith("embed")]
    others = [p for n, p in model.named_parameters() if p.ndim == 1 or n.startswith("embed")]
    muon = Muon(matrices, lr=0.02)
    adam = torch.optim.AdamW([*others, probes], lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)
    base, progress, seen, step = [0.02, 3e-3], Progress(), 0, 0
    while seen < stage.tokens * 1e6:
        shape = rng.choices(list(stage.shapes), weights=list(stage.shapes.values()))[0]
        mix = data.Mix(shape.context, shape.pairs, stage.digits, stage.items, stage.tables, stage.unknown)
        ids, targets, weights, skills = encoder.batch(
            [data.document(rng, mix) for _ in range(shape.docs)], shape.context
        )
        factor = stage.lr_factor(seen)
        for optimizer, lr in zip((muon, adam), base, strict=True):
            optimizer.param_groups[0]["lr"] = lr * factor * min(1.0, (step + 1) / 50)
        hidden, tap = model(ids)
        trained = weights > 0
        logits = F.linear(hidden[trained], model.embed_tokens.weight)
        losses = F.cross_entropy(logits, targets[trained], reduction="none")
        loss = total = (losses * weights[trained]).sum() / weights.sum()
        if stage.aux:
            total = loss + stage.aux * auxiliary_loss(model, probes, tap, ids)
        total.backward()
        nn.utils.clip_grad_norm_(others, 1.0)
        for optimizer in (muon, adam):
            optimizer.step()
            optimizer.zero_grad()
        seen, step = seen + ids.numel(), step + 1
        progress.add(loss.item(), (logits.argmax(-1) == targets[trained]).tolist(), skills)
        if step % 100 == 0:
            progress.report(f"stage {number} step {step} {seen / 1e6:.2f}M")


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the tiny model from nothing.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint, made if missing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start-stage", type=int, default=1, help="go on from OUT/stage(N-1).safetensors")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    save_tokenizer(tokenizer, args.out)
    encoder = Encoder(tokenizer)
    model = TrainingLlama()
    for block in model.layers:
        block.compile(dynamic=False)  # about 15% faster; needs a C++ compiler
    probes = nn.Parameter(torch.randn(AUX_TOKENS, HIDDEN, HIDDEN) * HIDDEN**-0.5)
    if args.start_stage > 1:
        state = load_file(args.out / f"stage{args.start_stage - 1}.safetensors")
        probes.data.copy_(state.pop("probes"))
        model.load_state_dict(state)
    for number, stage in enumerate(STAGES, 1):
        if number < args.start_stage:
            continue
        train_stage(number, stage, args.seed, model, probes, encoder)
        state = {name: p.detach() for name, p in model.named_parameters()} | {"probes": probes.detach()}
        save_file(state, args.out / f"stage{number}.safetensors")
        save_checkpoint(model, args.out)


if __name__ == "__main__":
    main()
