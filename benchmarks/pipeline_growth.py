"""Parts of `pipeline.py` that grow: images made, images planned, images found done."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from pipeline_models import GROUPS, Table, peak_memory, request, run_context

from varbench.models.infinity.model import InfinityModel
from varbench.pipeline import run
from varbench.pipeline.plan import Request, batches, plan
from varbench.pipeline.stages.edit import edit_task
from varbench.pipeline.stages.generate import images_task, sampling_spec
from varbench.scoring.scorers.clip import ClipScorer
from varbench.scoring.scorers.features import FeatureScorer
from varbench.scoring.scorers.judge import JudgeScorer

PROMPTS = 60


def growth(folder: Path, scale: float) -> list[Table]:
    """Runs of the base model with more and more images, each in a process of its own."""
    rows: list[tuple[Any, ...]] = []
    for wanted in (1000, 5000, 20000):
        seeds = max(1, round(wanted * scale / (PROMPTS * len(GROUPS))))
        images, wall, processor, memory = in_own_process(_grown, folder / str(wanted), seeds)
        rows.append((images, wall, processor, 1000 * processor / images, memory))
    columns = ("images", "wall s", "processor s", "processor ms / image", "peak GB")
    return [Table("varbench run --method none, suite smoke with more seeds", columns, rows)]


def in_own_process(work: Callable[..., Any], *args: Any) -> Any:
    """The result of `work` in a new process, whose memory is nobody else's."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, args)


def more(seeds: int) -> tuple[str, ...]:
    """Overrides of the suite: so many images of each of `PROMPTS` prompts per group."""
    return tuple(f"suite.groups.{group}.seeds={seeds}" for group in GROUPS)


def _grown(folder: Path, seeds: int) -> tuple[int, float, float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    asked = request("none", *more(seeds))
    run.run(asked, run_context(folder))
    images = sum(len(rows) for rows in plan(asked)[0].groups().values())
    spent = time.perf_counter() - wall, time.process_time() - processor
    shutil.rmtree(folder)
    return images, *spent, peak_memory()


METHODS = ("svare", "vare", "naive", "esd", "uce", "ac", "ear", "fmn", "obliviate")
CONCEPTS = ("face-ada", "bare-mannequin", "style-marlo-tessera", "church", "clock")


def planning(folder: Path, scale: float) -> list[Table]:
    """Ten models on five concepts, 40,000 images each: cells, batches and all their keys."""
    seeds = max(1, round(222 * scale))
    images, keys, processor, memory = in_own_process(_planned, folder, seeds)
    columns = ("images", "keys", "processor s", "peak GB")
    return [Table("plan, and the key of every batch", columns, [(images, keys, processor, memory)])]


def _planned(folder: Path, seeds: int) -> tuple[int, int, float, float]:
    began, ctx = time.process_time(), run_context(folder)
    images, keys = 0, set()
    for cell in plan(Request("gallery", METHODS, CONCEPTS, "smoke", (0,), more(seeds))):
        edit = edit_task(ctx, cell)
        spec = sampling_spec(ctx, cell, edit)
        for name, samples in cell.groups().items():
            images += len(samples)
            for batch in batches(samples, cell.config.suite.block):
                keys.add(images_task(cell, spec, batch, edit, name).key)
    return images, len(keys), time.process_time() - began, peak_memory()


FEW = (
    "suite.metrics=[erasure_rate,acc_n,acc_u,clip_score]",
    "suite.robustness.prompts=0",
    "suite.probe.prompts=0",
)


def resume(folder: Path, scale: float) -> list[Table]:
    """A run whose store has everything; its images are noise, made without the networks."""
    asked = request("none", *more(max(1, round(556 * scale))), *FEW)
    in_own_process(filled, folder, asked)
    images, wall, processor, memory = in_own_process(_found, folder, asked)
    columns = ("stored images", "wall s", "processor s", "peak GB")
    return [Table("the same run again", columns, [(images, wall, processor, memory)])]


def _found(folder: Path, asked: Request) -> tuple[int, float, float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    (entry,) = run.run(asked, run_context(folder))
    spent = time.perf_counter() - wall, time.process_time() - processor
    listed = entry.json("cell.json")["pictures"]
    return sum(len(group) for group in listed.values()), *spent, peak_memory()


def filled(folder: Path, asked: Request) -> None:
    """Do a run with noise for images, made and scored without the networks."""
    noise = np.random.default_rng(0)
    image = noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def save(self: Image.Image, path: Path) -> None:
        path.write_bytes(encoded)

    path = folder / "one.png"
    folder.mkdir(parents=True)
    Image.fromarray(image).save(path)
    encoded = path.read_bytes()
    path.unlink()
    with (
        mock.patch.object(InfinityModel, "generate", return_value=mock.Mock(finite=None)),
        mock.patch.object(InfinityModel, "decode", return_value=torch.zeros(50, 3, 1, 1)),
        mock.patch.object(Image.Image, "save", save),
        mock.patch.object(JudgeScorer, "score", _first_scored(JudgeScorer.score)),
        mock.patch.object(ClipScorer, "score", _first_scored(ClipScorer.score)),
        mock.patch.object(FeatureScorer, "score", _first_scored(FeatureScorer.score)),
    ):
        run.run(asked, run_context(folder))


def _first_scored(score: Callable[..., Any]) -> Callable[..., Any]:
    """Looks at the first image only and says the same of all."""

    def scored(self: Any, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Any]:
        arrays = score(self, files[:1], prompts[:1])
        return {name: np.repeat(rows, len(files), axis=0) for name, rows in arrays.items()}

    return scored
