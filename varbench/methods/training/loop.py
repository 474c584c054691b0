"""THE training loop of all fine-tuning methods: same optimiser, batches, seeds, checkpoints.

A method supplies an objective (``objective.py``); the loop adds its terms up for one optimiser step
(the formula), or takes one step per term (the released code), clips, logs and resumes. Precision
and low-rank adapters are in ``parameters.py``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from varbench.data.concept import EraseTarget
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.training.checkpoints import resume, save
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.objective import Batch, Objective
from varbench.methods.training.parameters import trained_parameters, training_mode
from varbench.models.protocol import NextScaleModel

CHECKPOINT_EVERY = 50


def draw_batch(size: int, config: FineTuneConfig, seed: int, step: int) -> Batch:
    """Pairs of one iteration: passes over shuffled pairs, a function of (seed, step) only."""
    rows = []
    for position in range(step * config.batch, (step + 1) * config.batch):
        epoch, index = divmod(position, size)
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        rows.append(int(torch.randperm(size, generator=generator)[index]))
    generator = torch.Generator().manual_seed(seed * 100_003 + 7_919 * (step + 1))
    drop = (torch.rand(config.batch, generator=generator) < config.text_drop).tolist()
    return Batch(step, rows, drop)


def fine_tune(
    model: NextScaleModel,
    objective: Objective,
    config: FineTuneConfig,
    context: TrainingContext,
    masks: Mapping[str, Tensor] | None = None,
) -> Edit:
    """Train the chosen parameters in place, collect the change, restore the model.

    Killed and started again with the same arguments it resumes from ``context.scratch``, which is
    the caller's to remove once the edit is stored. With
    ``masks`` only the entries that are True in them change; see :class:`Mask`.
    """
    chosen = trained_parameters(model, config)
    with training_mode(model, chosen, config, context.seed) as (parameters, result):
        optimiser = new_optimiser(config, parameters)
        start, log = resume(context.scratch, parameters, optimiser)
        mask = Mask(parameters, masks)
        with context.progress.stage("erase", config.steps, done=start) as bar:
            for step in range(start, config.steps):
                batch = draw_batch(objective.size, config, context.seed, step)
                losses = _iterate(objective, batch, config, parameters, optimiser, mask)
                log.append({"step": step} | losses)
                if (step + 1) % CHECKPOINT_EVERY == 0:
                    save(context.scratch, parameters, optimiser, step + 1, log)
                bar.advance()
        tensors = result()
    return Edit(tensors, log)


class FineTuning(ABC):
    """Base of the methods that train one objective, with the settings ``config.train``."""

    id: str
    version = 1
    Config: type[Any]

    @abstractmethod
    def objective(
        self, model: NextScaleModel, concept: EraseTarget, config: Any, seed: int
    ) -> Objective:
        """The objective, with everything that it needs of the still unedited model."""

    def erase(
        self, model: NextScaleModel, concept: EraseTarget, config: Any, context: TrainingContext
    ) -> Edit:
        objective = self.objective(model, concept, config, context.seed)
        return fine_tune(model, objective, config.train, context)


class Mask:
    """Lets only some entries of the parameters train; the others keep their bits.

    The others' gradients are zero before anything reads them, so clipping measures what will
    move; after each optimiser step their values are put back, because moments of earlier steps
    and weight decay move entries without a gradient.

    Args:
        parameters: what the optimiser trains, by name.
        masks: per parameter a bool tensor of its shape, True where it may change; None for all.

    Raises:
        ValueError: the masks do not match the parameters.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor] | None
    ) -> None:
        masks = {} if masks is None else masks
        if masks and (
            {n: m.shape for n, m in masks.items()} != {n: p.shape for n, p in parameters.items()}
        ):
            raise ValueError(
                "masks must match the trained parameters; adapters have none, set train.lora_rank=0"
            )
        fixed = [(parameters[n], ~mask.to(parameters[n].device)) for n, mask in masks.items()]
        self.fixed = [(p, entries, p.detach()[entries]) for p, entries in fixed]

    def silence(self) -> None:
        """Take the gradients from the fixed entries; call after each backward pass."""
        for p, entries, _ in self.fixed:
            if p.grad is not None:
                p.grad.masked_fill_(entries, 0)

    def put_back(self) -> None:
        """Give the fixed entries their values again; call after each optimiser step."""
        for p, entries, values in self.fixed:
            p.detach().masked_scatter_(entries, values)


class GradientConflict:
    """Cosine between the gradients of an iteration's first loss term and of the later ones.

    Below 0 a step that helps one loss hurts the other (Yu et al., Gradient Surgery for Multi-Task
    Learning, NeurIPS 2020). The loop computes the terms' gradients one after the other anyway, so
    the cosine costs no backward pass, only room for the first term's gradient. With two terms the
    optimiser sees the same bits: the sum of two numbers does not depend on their order.

    Args:
        parameters: what is trained.
        separate_steps: the optimiser steps after every term; the later gradient is then the last
            term's, after the first one's step.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], separate_steps: bool) -> None:
        self.parameters = parameters
        self.separate_steps = separate_steps
        self.first: dict[str, Tensor] = {}

    def after_first(self) -> None:
        """Set the first term's gradient aside; call before clipping."""
        for name, p in self.parameters.items():
            if p.grad is not None:
                self.first[name] = p.grad.clone() if self.separate_steps else p.grad
                p.grad = p.grad if self.separate_steps else None

    @torch.no_grad()
    def after_last(self) -> dict[str, float]:
        """The cosine (-1 to 1) for the log; the gradients are as they would be without it.

        A parameter that a term does not touch has gradient 0 there; nothing is logged where all
        are 0.
        """
        product, first_square, later_square = 0.0, 0.0, 0.0
        for name, p in self.parameters.items():
            first, later = self.first.get(name), p.grad
            product += _dot(first, later)
            first_square += _dot(first, first)
            later_square += _dot(later, later)
            if first is not None and not self.separate_steps:
                p.grad = first if later is None else later.add_(first)
        norms = math.sqrt(first_square * later_square)
        return {"conflict": product / norms} if norms else {}


def _dot(a: Tensor | None, b: Tensor | None) -> float:
    return 0.0 if a is None or b is None else float((a.float() * b.float()).sum())


def new_optimiser(
    config: FineTuneConfig, parameters: Mapping[str, nn.Parameter]
) -> torch.optim.Optimizer:
    """AdamW over parameters; those of one dimension are not decayed."""
    flat = [p for p in parameters.values() if p.ndim <= 1]
    deep = [p for p in parameters.values() if p.ndim > 1]
    groups = [
        {"params": deep, "weight_decay": config.weight_decay},
        {"params": flat, "weight_decay": 0.0},
    ]
    # On CUDA torch's own choice needs room for another copy of all parameters.
    fused = True if all(p.is_cuda for p in parameters.values()) else None
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.rate, betas=betas, fused=fused)


def _iterate(
    objective: Objective,
    batch: Batch,
    config: FineTuneConfig,
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    mask: Mask,
) -> dict[str, float]:
    record: dict[str, float] = {}
    names = objective.terms(batch)
    watched = config.log_conflict and len(names) > 1
    conflict = GradientConflict(parameters, config.separate_steps) if watched else None
    for position, name in enumerate(names):
        last = position == len(names) - 1
        term, notes = objective.term(name, batch)
        if term.weight:
            (term.weight * term.value).backward()
            mask.silence()
        record[name] = float(term.value.detach())
        record |= notes
        if conflict and position == 0:
            conflict.after_first()
        if conflict and last:
            record |= conflict.after_last()
        if config.separate_steps or last:
            norm = nn.utils.clip_grad_norm_(list(parameters.values()), config.clip)
            record["norm" if last else f"norm_{name}"] = float(norm)
            optimiser.step()
            mask.put_back()
            optimiser.zero_grad(set_to_none=True)
    return record
