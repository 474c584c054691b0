"""THE training loop of all fine-tuning methods: same optimiser, batches, seeds, checkpoints.

A method supplies an :class:`Objective`; the loop adds its terms up for one optimiser step
(the formula), or takes one step per term (the released code), clips, logs and resumes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from varbench.methods.base import Edit, Workplace
from varbench.models.base import Condition, NextScaleModel, trainable

CHECKPOINT_EVERY = 50


@dataclass(frozen=True)
class FineTuneConfig:
    """Optimisation settings shared by all fine-tuning methods.

    The defaults are the paper's except for ``steps``, ``batch`` and ``rate``, which each model's
    config sets to its size.

    Attributes:
        steps: iterations (paper: 500).
        batch: pairs per iteration (paper: 2).
        rate: AdamW learning rate (released code: 2.34e-5 on bf16 weights of Infinity-2B).
        beta1, beta2, weight_decay: AdamW's; no decay on one-dimensional parameters.
        clip: largest gradient norm.
        parts: parts of the model to train.
        separate_steps: one optimiser step per loss term instead of one for their sum.
        text_drop: share of training samples whose text is replaced by the null condition (the
            released code: 0.1, which also trains guidance's reference; 0 is controlled).
    """

    steps: int = 500
    batch: int = 2
    rate: float = 2e-5
    beta1: float = 0.9
    beta2: float = 0.97
    weight_decay: float = 0.005
    clip: float = 5.0
    parts: tuple[str, ...] = ("cross_attention", "ffn")
    separate_steps: bool = False
    text_drop: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps and batch must be at least 1, got {self.steps}, {self.batch}")
        if self.rate <= 0:
            raise ValueError(f"rate must be positive, got {self.rate}")


@dataclass(frozen=True)
class Term:
    """One weighted part of the loss; ``weight`` is not yet multiplied in."""

    name: str
    value: Tensor
    weight: float = 1.0


@dataclass(frozen=True)
class Batch:
    """What an objective sees of one iteration.

    Attributes:
        step: number of the iteration, from 0.
        rows: numbers of the pairs.
        drop: per row, whether its text is replaced by the null condition.
    """

    step: int
    rows: list[int]
    drop: list[bool]


class Objective(Protocol):
    """The part of a fine-tuning method that differs between methods."""

    @property
    def size(self) -> int:
        """Number of training pairs."""
        ...

    def terms(self, batch: Batch) -> list[str]:
        """Names of the loss terms, in the order of separate optimiser steps."""
        ...

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        """One loss term with gradient, and numbers worth logging."""
        ...


def text_of(model: NextScaleModel, condition: Condition, batch: Batch) -> Condition:
    """The batch's prompts, some of them replaced by the null condition (``text_drop``)."""
    chosen = condition.select(batch.rows)
    return chosen.choose(model.null(chosen), batch.drop) if any(batch.drop) else chosen


def draw_batch(size: int, config: FineTuneConfig, seed: int, step: int) -> Batch:
    """Rows of one iteration: passes over shuffled pairs, a function of (seed, step) only."""
    rows = []
    for place in range(step * config.batch, (step + 1) * config.batch):
        epoch, index = divmod(place, size)
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        rows.append(int(torch.randperm(size, generator=generator)[index]))
    generator = torch.Generator().manual_seed(seed * 100_003 + 7_919 * (step + 1))
    drop = (torch.rand(config.batch, generator=generator) < config.text_drop).tolist()
    return Batch(step, rows, drop)


def fine_tune(
    model: NextScaleModel, objective: Objective, config: FineTuneConfig, place: Workplace
) -> Edit:
    """Train the named parts in place, collect the change, restore the model.

    Killed and started again with the same arguments it goes on from ``place.scratch``.
    """
    named = trainable(model, config.parts)
    parameters = list(named.values())
    original = {name: p.detach().clone() for name, p in named.items()}
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=config.rate,
        betas=(config.beta1, config.beta2),
    )
    model.weights().requires_grad_(False)
    for p in parameters:
        p.requires_grad_(True)
    try:
        start, log = _resume(place, named, optimiser)
        with place.progress.stage("erase", config.steps, done=start) as bar:
            for step in range(start, config.steps):
                batch = draw_batch(objective.size, config, place.seed, step)
                log.append(
                    {"step": step} | _iterate(objective, batch, config, parameters, optimiser)
                )
                if (step + 1) % CHECKPOINT_EVERY == 0:
                    _save(place, named, optimiser, step + 1, log)
                bar.advance()
        tensors = {name: p.detach().clone() for name, p in named.items()}
    finally:
        with torch.no_grad():
            for name, p in named.items():
                p.copy_(original[name])
        model.weights().requires_grad_(False)
    place.scratch.unlink(missing_ok=True)
    return Edit(tensors, log)


def _iterate(
    objective: Objective,
    batch: Batch,
    config: FineTuneConfig,
    parameters: list[nn.Parameter],
    optimiser: torch.optim.Optimizer,
) -> dict[str, float]:
    record: dict[str, float] = {}
    names = objective.terms(batch)
    for position, name in enumerate(names):
        term, notes = objective.term(name, batch)
        (term.weight * term.value).backward()
        record[name] = float(term.value.detach())
        record |= notes
        if config.separate_steps or position == len(names) - 1:
            norm = nn.utils.clip_grad_norm_(parameters, config.clip)
            record["norm" if position == len(names) - 1 else f"norm_{name}"] = float(norm)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    return record


def _resume(
    place: Workplace, named: dict[str, nn.Parameter], optimiser: torch.optim.Optimizer
) -> tuple[int, list[dict[str, float]]]:
    if not place.scratch.exists():
        return 0, []
    try:
        state = torch.load(place.scratch, weights_only=True)
    except Exception:  # a half-written or damaged checkpoint only costs the work it held
        return 0, []
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(state["parameters"][name])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"]), list(state["log"])


def _save(
    place: Workplace,
    named: dict[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    step: int,
    log: list[dict[str, float]],
) -> None:
    place.scratch.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.scratch.with_suffix(f".{os.getpid()}")
    parameters = {name: p.detach() for name, p in named.items()}
    state = {
        "parameters": parameters,
        "optimiser": optimiser.state_dict(),
        "step": step,
        "log": log,
    }
    torch.save(state, temporary)
    os.replace(temporary, place.scratch)
