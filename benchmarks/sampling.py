r"""Images per second and peak memory of sampling, against a literal loop and against the floor.

    python benchmarks/sampling.py                             # depth 12, width 768, 256 px, fp32
    python benchmarks/sampling.py --config infinity-2b --device cuda --precision bf16 --compile
    python benchmarks/sampling.py model.transformer.depth=4 model.pn=0.25M     # other sizes

Random weights and text rows. The library samples and decodes a batch, the literal loop
(``literal_infinity.py``) the first image of it; both take turns with a measurement of the
machine's matrix rate and bandwidth, so that a busy machine slows all of them alike. Figures are
medians over turns. The floor (``floor.py``) is the time that the operations take at the measured
matrix rate or the bytes at the measured bandwidth, whichever is longer, scale after scale.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from floor import (
    bandwidth,
    convolution_precision,
    decoder_work,
    matrix_rate,
    seconds,
    transformer_work,
)
from literal_infinity import Literal
from tabulate import tabulate

from varbench.conf.compose import names, resolve
from varbench.models.common.execution import Execution
from varbench.models.infinity.config import InfinityConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.schedules import schedule_for
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Sampling
from varbench.pipeline.estimate.live_bytes import LiveBytes
from varbench.utils.devices import pick_device

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Turn:
    """One round of measurements: seconds per image, and what the machine can do meanwhile."""

    literal: float
    library: float
    floor: float
    rate: float
    bandwidth: float


class Bench:
    """A random model of a config and one batch of prompts for it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, pick_device(args.device)
        overrides = [*args.overrides, "model.chunks=1"]  # numbers files alone
        config = resolve(args.config, "smoke", "none", overrides).model
        assert isinstance(config, InfinityConfig)
        self.config, s = config, config.sampling
        torch.manual_seed(0)
        with torch.device(self.device):
            transformer = InfinityTransformer(config.transformer)
            tokenizer = BSQVAE(config.tokenizer)
            rows = torch.randn(sum(self.lengths), config.transformer.text_width)
        transformer.blocks.to(DTYPES[args.precision])
        schedule = schedule_for(config.pn, config.aspect_ratio)
        sampling = Sampling(s.guidance, s.temperature, s.top_k, s.top_p)
        frozen = transformer.requires_grad_(False)
        self.model = InfinityModel(
            "random", frozen, tokenizer, None, schedule, sampling, args.batch
        )
        self.model.execution = Execution(
            bf16=args.precision == "bf16",
            compile=args.compile,
            bf16_decoder=args.decoder == "bf16",
        )
        maxlen = config.transformer.text_maxlen
        self.condition = TextCondition.padded(rows.split(self.lengths), maxlen)
        self.keys = [(f"{i:016x}", 0) for i in range(args.batch)]
        self.loop = Literal(self.model, bf16=args.literal == "bf16")

    @property
    def lengths(self) -> list[int]:
        """Text rows of every prompt of the batch."""
        given = self.args.text_rows
        return [given[i % len(given)] for i in range(self.args.batch)]

    @property
    def branches(self) -> int:
        """Conditions per image."""
        return 1 if self.model.sampling.guidance == 1 else 2

    def library(self) -> None:
        """One batch."""
        self.model.decode(self.model.generate(self.condition, self.keys))

    def literal(self) -> None:
        """The first image of the batch."""
        rows = self.condition.rows[0, : self.lengths[0]]
        self.loop.draw(rows, self.keys[0], self.model.sampling)

    def floor(self, rate: float, decoder_rate: float, bytes_per_second: float) -> float:
        """The least seconds per image of the library's batch."""
        config, sizes = self.config.transformer, self.model.layout.grids[-1]
        number = DTYPES[self.args.precision].itemsize
        steps = transformer_work(config, self.model.schedule, self.lengths, self.branches, number)
        decoder = decoder_work(self.config.tokenizer, sizes, DTYPES[self.args.decoder].itemsize)
        least = sum(step.seconds(rate, bytes_per_second) for step in steps) / self.args.batch
        return least + decoder.seconds(decoder_rate, bytes_per_second)

    def operations(self) -> tuple[float, float]:
        """Operations per image in transformer and decoder."""
        steps = transformer_work(
            self.config.transformer, self.model.schedule, self.lengths, self.branches
        )
        decoder = decoder_work(self.config.tokenizer, self.model.layout.grids[-1])
        return sum(step.operations for step in steps) / self.args.batch, decoder.operations

    def shapes(self) -> list[tuple[int, int, int]]:
        """The largest matrix products of a step, and a square one."""
        c = self.config.transformer
        tokens = self.branches * self.args.batch * self.model.schedule.lengths[-1]
        side = 8192 if self.device.startswith("cuda") else 2048
        products = [(c.width, 3 * c.width), (c.width, c.ffn_width), (c.ffn_width, c.width)]
        return [*((tokens, k, n) for k, n in products), (side, side, side)]

    def turn(self) -> Turn:
        """Measure everything once."""
        # The loop is timed on both sides of the library, whose place is then their mean.
        jobs = (self.literal, self.library, self.literal)
        before, batch, after = (seconds(job, self.device) for job in jobs)
        rate = matrix_rate(self.shapes(), DTYPES[self.args.precision], self.device)
        decoder_rate, moved = rate, bandwidth(self.device)
        if self.args.decoder != self.args.precision or self.device.startswith("cuda"):
            with convolution_precision(self.device):
                decoder_rate = matrix_rate(self.shapes(), DTYPES[self.args.decoder], self.device)
        least = self.floor(rate, decoder_rate, moved)
        return Turn((before + after) / 2, batch / self.args.batch, least, rate, moved)

    def parts(self, job: Callable[[], None], targets: Sequence[tuple[Any, str]]) -> list[float]:
        """Seconds inside some methods during one run of ``job``, then those outside all."""
        inside = [0.0] * len(targets)

        def timed(index: int, method: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **named: Any) -> Any:
                out: list[Any] = []
                inside[index] += seconds(lambda: out.append(method(*args, **named)), self.device)
                return out[0]

            return call

        with ExitStack() as replaced:
            for index, (owner, name) in enumerate(targets):
                timer = timed(index, getattr(owner, name))
                replaced.enter_context(mock.patch.object(owner, name, timer))
            total = seconds(job, self.device)
        return [*inside, total - sum(inside)]

    def peak(self, job: Callable[[], None]) -> int:
        """Most bytes alive at once beyond weights and text."""
        if not self.device.startswith("cuda"):
            with LiveBytes() as live:
                job()
            return live.peak
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        job()
        return torch.cuda.max_memory_allocated() - before


def report(args: argparse.Namespace) -> str:
    """Measure and describe."""
    bench = Bench(args)
    model, c, batch = bench.model, bench.config.transformer, args.batch
    peaks = bench.peak(bench.literal), bench.peak(bench.library)  # warms up, too
    turns = [bench.turn() for _ in range(args.repeats)]
    loop = [(bench.loop, "block"), (bench.loop, "read_out"), (bench.loop, "decode")]
    blocks, outside, decoder, rest = bench.parts(bench.literal, loop)
    split = [blocks + outside, decoder, rest]
    owners = [(model.transformer, "forward"), (model.tokenizer, "decode")]
    own = [s / batch for s in bench.parts(bench.library, owners)]

    def median(value: Callable[[Turn], float]) -> float:
        return statistics.median(value(turn) for turn in turns)

    rows = []
    for name, value, peak, spent in (
        (f"literal loop, {args.literal}, batch 1", lambda t: t.literal, peaks[0], split),
        (f"varbench, {args.precision}, batch {batch}", lambda t: t.library, peaks[1], own),
    ):
        times = median(lambda t, value=value: t.literal / value(t))  # type: ignore[misc]
        rows.append((name, 1 / median(value), times, peak / 1e9, *spent))
    columns = (
        "", "images / s", "times as fast", "peak GB",
        "transformer s", "decoder s", "rest s",
    )  # fmt: skip
    gpu = bench.device.startswith("cuda")
    where = torch.cuda.get_device_name() if gpu else bench.device
    operations = bench.operations()
    return "\n".join(
        [
            f"{bench.config.name}, {model.schedule.total} tokens, width {c.width}, depth "
            f"{c.depth}, text rows {'/'.join(map(str, args.text_rows))}, {where}, "
            f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
            f"{args.repeats} turns",
            tabulate(rows, columns, floatfmt=".3f"),
            f"operations per image: transformer {operations[0] / 1e9:.0f} G, "
            f"decoder {operations[1] / 1e9:.0f} G",
            f"machine: {median(lambda t: t.rate) / 1e9:.0f} G matrix operations / s "
            f"({args.precision}), {median(lambda t: t.bandwidth) / 1e9:.0f} GB / s",
            f"share of the floor: {median(lambda t: t.floor / t.library):.0%}",
            "",
        ]
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("overrides", nargs="*", help="of the config, as model.transformer.depth=4")
    precisions = InfinityConfig.precisions
    infinities = [name for name in names("model") if name.startswith("infinity-")]
    made.add_argument("--config", choices=infinities, default="infinity-125m")
    made.add_argument("--batch", type=int, default=8)
    made.add_argument(
        "--text-rows", type=int, nargs="+", default=[32], help="lengths of the prompts, in turn"
    )
    made.add_argument("--precision", choices=precisions, default="fp32")
    made.add_argument("--decoder", choices=precisions, default="fp32", help="its precision")
    made.add_argument("--literal", choices=precisions, default="fp32", help="the loop's precision")
    made.add_argument("--compile", action="store_true", help="see Execution.compile")
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--device", default="auto")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and show the result."""
    sys.stdout.write(report(parser().parse_args(argv)))


if __name__ == "__main__":
    main()
