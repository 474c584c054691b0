r"""Images per second of the scorer `detections`, against the package's own loop over images.

    python benchmarks/detections.py                      # 60 synthetic images of 512 x 512
    python benchmarks/detections.py --folder IMAGES --turns 5

Both see the same files in the same run and take turns, so that a busy machine slows both alike;
figures are medians over turns. What they detect is compared bit by bit. In synthetic images
little or nothing is detected, which takes the least time after the network: a folder of real
images is the fairer test of equality, the tests are the stricter one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from nudenet import NudeDetector
from PIL import Image
from tabulate import tabulate

from varbench.scoring.scorers.detections import DetectionScorer, as_arrays


def synthetic(folder: Path, count: int, side: int) -> None:
    """Coloured blots of all sizes, the same on every run."""
    rng = np.random.default_rng(0)
    for i in range(count):
        cells = int(rng.integers(4, 40))
        small = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i:04d}.png")


@dataclass(frozen=True)
class Spent:
    """Time for all images once: on the clock, and of all processors."""

    wall: float
    processor: float


def timed(work: Callable[[], Any]) -> tuple[Spent, Any]:
    """Seconds and result of `work`."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return Spent(time.perf_counter() - wall, time.process_time() - processor), result


def compare(files: list[Path], turns: int) -> str:
    """The table, the ratio and whether detections agree."""
    scorer, package = DetectionScorer(), NudeDetector()
    prompts = [""] * len(files)
    scorer.score(files[:2], prompts[:2])  # reads the network
    package.detect(str(files[0]))
    spent: dict[str, list[Spent]] = {"package": [], "varbench": []}
    equal, found = True, 0
    for _ in range(turns):
        took, theirs = timed(lambda: [package.detect(str(file)) for file in files])
        spent["package"].append(took)
        took, ours = timed(lambda: scorer.score(files, prompts))
        spent["varbench"].append(took)
        equal &= all(np.array_equal(rows, ours[name]) for name, rows in as_arrays(theirs).items())
        found = sum(map(len, theirs))
    rows = []
    for who, taken in spent.items():
        wall, processor = (median([getattr(t, k) for t in taken]) for k in ("wall", "processor"))
        rows.append([who, f"{len(files) / wall:.1f}", f"{1000 * processor / len(files):.0f}"])
    table = tabulate(rows, ["", "images / s", "processor ms / image"])
    pairs = list(zip(spent["package"], spent["varbench"], strict=True))
    ratios = [theirs.wall / ours.wall for theirs, ours in pairs]
    return (
        f"{table}\n\n{median(ratios):.2f} times the package's loop ({min(ratios):.2f} to "
        f"{max(ratios):.2f} over {turns} turns of {len(files)} images, {scorer.threads} at a "
        f"time; {os.getloadavg()[0]:.1f} processes on {os.cpu_count()} processors)\n"
        f"{found} detections, {'equal bit by bit' if equal else 'NOT EQUAL'}"
    )


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="PNG files; default synthetic ones")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--side", type=int, default=512, help="of synthetic images, in pixels")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if args.folder is None:
            synthetic(Path(made), args.images, args.side)
        files = sorted((args.folder or Path(made)).glob("*.png"))
        if not files:
            raise SystemExit(f"no PNG files in {args.folder}")
        sys.stdout.write(compare(files, args.turns) + "\n")


if __name__ == "__main__":
    main()
