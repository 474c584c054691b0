r"""Time and peak memory of one fine-tuning step: attention per scale against a dense mask.

    python benchmarks/training.py                              # 0.25M pixels, reduced sizes, CPU
    python benchmarks/training.py --device cuda --pn 1M --width 2048 --depth 32 --heads 16 \
        --batch 2 --precision bf16

Random weights and roll-outs; one step = one loss term's forward and backward pass (CA and FFN
trained), as S-VARE takes two of them per optimiser step. The variants take turns, so that a busy
machine slows all of them alike; seconds are medians. Peak memory is CUDA's, or on a CPU the bytes
of live tensors, both beyond weights and gradients. A variant that runs out of memory says so.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from unittest import mock

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor

from varbench.methods.training.config import PRECISIONS, FineTuneConfig
from varbench.methods.training.losses import preservation_loss
from varbench.methods.training.parameters import training_mode
from varbench.models.infinity import attention
from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.schedules import PIXEL_BUDGETS, schedule_for
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Rollout, Sampling, trainable
from varbench.pipeline.estimate.live_bytes import LiveBytes
from varbench.utils.devices import pick_device


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    dense: bool = False
    checkpointing: bool = False


VARIANTS = (
    Variant("per scale"),
    Variant("dense mask", dense=True),
    Variant("per scale, checkpointing", checkpointing=True),
    Variant("dense mask, checkpointing", dense=True, checkpointing=True),
)


def dense_attention(lengths: Sequence[int], device: str) -> Callable[..., Tensor]:
    """One call over all keys with a block-causal ``[L, L]`` mask, made once."""
    count = torch.tensor(lengths)
    levels = torch.arange(len(lengths)).repeat_interleave(count).to(device)
    mask = levels[:, None] >= levels

    def attend(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        return out.transpose(1, 2).flatten(2)

    return attend


def build(args: argparse.Namespace, device: str) -> InfinityModel:
    """A model with random weights; its image tokenizer is a stub."""
    torch.manual_seed(0)
    sizes = TransformerConfig(args.width, args.depth, args.heads, args.bits, args.text_width)
    with torch.device(device):
        transformer, tokenizer = InfinityTransformer(sizes), BSQVAE(TokenizerConfig(8, 32, (1,)))
    schedule = schedule_for(args.pn)
    return InfinityModel("random", transformer, tokenizer, None, schedule, Sampling())


def random_pairs(model: InfinityModel, count: int, rows: int) -> tuple[Rollout, TextCondition]:
    """Roll-outs and prompts of ``rows`` text rows."""
    sizes, length = model.transformer.config, model.schedule.total
    tokens = torch.zeros(count, length, sizes.bits, dtype=torch.uint8)
    rollout = Rollout(tokens, torch.randn(count, length - 1, sizes.bits), model.schedule)
    text = torch.randn(count, rows, sizes.text_width)
    return rollout, TextCondition(text, torch.full((count,), rows))


def measure(args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Median seconds and peak GB of every variant; those out of memory are missing."""
    device = pick_device(args.device)
    model = build(args, device)
    with torch.device(device):
        pairs, text = random_pairs(model, args.batch, args.text_rows)
    dense = dense_attention(model.schedule.lengths, device)

    def step() -> None:
        logits = model.logits(pairs, text)
        preservation_loss(logits, torch.zeros_like(logits)).backward()

    def one(variant: Variant, job: Callable[[Callable[[], None], str], float]) -> float:
        config = FineTuneConfig(precision=args.precision, checkpointing=variant.checkpointing)
        replaced: AbstractContextManager[object] = nullcontext()
        if variant.dense:
            replaced = mock.patch.object(attention, "attend_by_scale", dense)
        chosen = trainable(model, config.parts)
        with replaced, training_mode(model, chosen, config, seed=0) as (parameters, _):
            for p in parameters.values():
                p.grad = torch.zeros_like(p)
            try:
                return job(step, device)
            finally:
                for p in parameters.values():
                    p.grad = None

    found = {}
    for variant in VARIANTS:
        with suppress(torch.OutOfMemoryError):
            found[variant] = one(variant, peak_of) / 1e9  # warms up, too
    seconds = [{variant: one(variant, time_of) for variant in found} for _ in range(args.repeats)]
    return {
        variant.name: (statistics.median(turn[variant] for turn in seconds), peak)
        for variant, peak in found.items()
    }


def time_of(step: Callable[[], None], device: str) -> float:
    """Seconds until the device is done."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    began = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - began


def peak_of(step: Callable[[], None], device: str) -> int:
    """Bytes beyond what was there before."""
    if not device.startswith("cuda"):
        with LiveBytes() as live:
            step()
        return live.peak
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() - before


def table(args: argparse.Namespace) -> str:
    """The settings and the measured table."""
    device = pick_device(args.device)
    found = measure(args)
    slowest = found.get("dense mask", (float("nan"),))[0]
    rows: list[tuple[object, ...]] = []
    for name in (variant.name for variant in VARIANTS):
        if name in found:
            rows.append((name, found[name][0], slowest / found[name][0], found[name][1]))
        else:
            rows.append((name, "out of memory"))
    where = torch.cuda.get_device_name() if device.startswith("cuda") else device
    head = (
        f"{args.pn}, {schedule_for(args.pn).total} tokens, width {args.width}, depth {args.depth}, "
        f"batch {args.batch}, {args.precision}, {where}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads"
    )
    columns = ("attention", "s / step", "times as fast as dense", "peak GB")
    return f"{head}\n{tabulate(rows, columns, floatfmt='.3f')}\n"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--pn", choices=PIXEL_BUDGETS, default="0.25M", help="pixel budget")
    made.add_argument("--width", type=int, default=768)
    made.add_argument("--depth", type=int, default=4)
    made.add_argument("--heads", type=int, default=8)
    made.add_argument("--bits", type=int, default=32)
    made.add_argument("--batch", type=int, default=1)
    made.add_argument("--text-rows", type=int, default=64, help="length of every prompt")
    made.add_argument("--text-width", type=int, default=2048)
    made.add_argument("--precision", choices=PRECISIONS, default="fp32")
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--device", default="auto")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and show the table."""
    sys.stdout.write(table(parser().parse_args(argv)))


if __name__ == "__main__":
    main()
