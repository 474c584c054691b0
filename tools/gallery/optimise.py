"""The optimisation loop of all Gallery stages: resumable, seeded, logged."""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from tools.gallery.recipe import StageRecipe
from varbench.utils.files import whole_file

log = logging.getLogger(__name__)

SAVE_EVERY = 250


def _learning_rate(step: int, recipe: StageRecipe) -> float:
    warm = min(1.0, (step + 1) / recipe.warmup)
    return recipe.rate * warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def optimise(
    name: str,
    module: nn.Module,
    loss_of: Callable[[int, torch.Generator], dict[str, Tensor]],
    recipe: StageRecipe,
    folder: Path,
    seed: int,
) -> nn.Module:
    """Train ``module`` and return the averaged copy.

    A checkpoint is written every few hundred steps; running again resumes from it. Random
    numbers of a step depend on (seed, step) only, so an interrupted run ends at the same
    weights as an uninterrupted one on the same machine.

    Args:
        name: of the stage; names its files in ``folder``.
        module: all its parameters that require a gradient are trained.
        loss_of: (step, generator) -> named losses; ``"loss"`` is minimised, others are logged.
        recipe: steps, batch, rates.
        folder: checkpoints ``NAME.pt`` and the log ``NAME.jsonl``.
        seed: start of all randomness.
    """
    average = copy.deepcopy(module).requires_grad_(False)
    parameters = [p for p in module.parameters() if p.requires_grad]
    decay = [p for p in parameters if p.ndim > 1]
    rest = [p for p in parameters if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}],
        betas=(0.9, 0.97),
    )
    start, checkpoint = 0, folder / f"{name}.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(state["module"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
        log.info("%s resumes at step %d", name, start)
    began = time.monotonic()
    for step in range(start, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(step, recipe)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        losses = loss_of(step, generator)
        optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()
        norm = nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimiser.step()
        _follow(average, module, min(recipe.average, (step + 1) / (step + 10)))
        done = step + 1
        if done % 50 == 0 or done == recipe.steps:
            record = {"step": done, "seconds": round(time.monotonic() - began, 1)}
            record |= {key: round(float(value.detach()), 5) for key, value in losses.items()}
            record["norm"] = round(float(norm), 3)
            with (folder / f"{name}.jsonl").open("a") as stream:
                stream.write(json.dumps(record) + "\n")
            log.info("%s %s", name, record)
        if done % SAVE_EVERY == 0 or done == recipe.steps:
            state = {
                "module": module.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": done,
            }
            with whole_file(checkpoint) as draft:
                torch.save(state, draft)
    return average


@torch.no_grad()
def _follow(average: nn.Module, module: nn.Module, decay: float) -> None:
    current = module.state_dict()
    for key, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[key], 1 - decay)
