"""THE training loop of all fine-tuning methods: same optimiser, batches, seeds, checkpoints.

A method supplies an :class:`Objective`; the loop adds its terms up for one optimiser step
(the formula), or takes one step per term (the released code), clips, logs and resumes. Precision
is told in ``precision.py``, low-rank adapters in ``lora.py``, the memory of all in ``memory.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from varbench.errors import UserError
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.training.checkpoints import resume, save
from varbench.methods.training.extras import require as require_package
from varbench.methods.training.gradient_conflict import Conflict
from varbench.methods.training.lora import adapters
from varbench.methods.training.masks import masked
from varbench.methods.training.precision import PRECISIONS, executing, held, held_dtypes
from varbench.models.capabilities import HasBlocks, require
from varbench.models.protocol import CapabilityError, Condition, NextScaleModel, trainable

CHECKPOINT_EVERY = 50
OPTIMISERS = ("adamw", "adamw-8bit")


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
        blocks: of these parts only what lies in the first so many blocks; 0 = everything.
        separate_steps: one optimiser step per loss term instead of one for their sum.
        log_conflict: log the cosine between the loss terms' gradients (``conflict.py``): no more
            work but room for another gradient; with two terms the edit keeps its bits.
        text_drop: share of training samples whose text is replaced by the null condition (the
            released code: 0.1, which also trains guidance's reference; 0 is controlled).
        precision: ``fp32``, ``bf16`` with float32 master weights, or ``bf16-weights`` as the
            released code has it; see ``precision.py``. The released code's rate belongs to the
            last: on master weights the same rate is a stronger edit.
        checkpointing: compute every block again on the way back instead of keeping what it
            needs: the same bits for one more forward pass, and a fraction of the memory.
        lora_rank: rank of the adapters that are trained instead of the parts' matrices; 0 = none,
            the matrices themselves are trained. Needs the extra ``lora``.
        lora_alpha: the adapters' product is multiplied by ``lora_alpha / lora_rank``.
        optimiser: ``adamw``, or ``adamw-8bit`` whose moments take a quarter of the memory (extra
            ``8bit``, CUDA only).
    """

    steps: int = 500
    batch: int = 2
    rate: float = 2e-5
    beta1: float = 0.9
    beta2: float = 0.97
    weight_decay: float = 0.005
    clip: float = 5.0
    parts: tuple[str, ...] = ("cross_attention", "ffn")
    blocks: int = 0
    separate_steps: bool = False
    log_conflict: bool = False
    text_drop: float = 0.0
    precision: str = "fp32"
    checkpointing: bool = False
    lora_rank: int = 0
    lora_alpha: float = 16.0
    optimiser: str = "adamw"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps and batch must be at least 1, got {self.steps}, {self.batch}")
        if self.blocks < 0:
            raise ValueError(f"blocks must not be negative (0 = all), got {self.blocks}")
        if self.rate <= 0:
            raise ValueError(f"rate must be positive, got {self.rate}")
        for name, value, known in (
            ("precision", self.precision, PRECISIONS),
            ("optimiser", self.optimiser, OPTIMISERS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if self.lora_rank < 0 or self.lora_alpha <= 0:
            raise ValueError(
                "lora_rank must not be negative and lora_alpha must be positive, "
                f"got {self.lora_rank}, {self.lora_alpha}"
            )
        if self.lora_rank:
            require_package("peft", "lora", f"train.lora_rank={self.lora_rank}")
        if self.optimiser == "adamw-8bit":
            require_package("bitsandbytes", "8bit", "train.optimiser=adamw-8bit")


@dataclass(frozen=True)
class Term:
    """One weighted part of the loss; ``weight`` is not yet multiplied in, 0 leaves it out.

    An optimiser step whose terms are all left out is not made.
    """

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

    def in_turn(self, count: int) -> Batch:
        """As many rows of another set of ``count``, which is gone through in order."""
        first = self.step * len(self.rows)
        return replace(self, rows=[(first + i) % count for i in range(len(self.rows))])


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
    model: NextScaleModel,
    objective: Objective,
    config: FineTuneConfig,
    place: TrainingContext,
    masks: Mapping[str, Tensor] | None = None,
) -> Edit:
    """Train the named parts in place, collect the change, restore the model.

    Killed and started again with the same arguments it goes on from ``place.scratch``. With
    ``masks`` only the entries that are True in them change; see :func:`masked`.
    """
    chosen = trained(model, config)
    with tuned(model, chosen, config, place.seed) as (parameters, result):
        optimiser = new_optimiser(config, parameters)
        start, log = resume(place.scratch, parameters, optimiser)
        with (
            masked(parameters, optimiser, masks),
            place.progress.stage("erase", config.steps, done=start) as bar,
        ):
            for step in range(start, config.steps):
                batch = draw_batch(objective.size, config, place.seed, step)
                losses = _iterate(objective, batch, config, parameters, optimiser)
                log.append({"step": step} | losses)
                if (step + 1) % CHECKPOINT_EVERY == 0:
                    save(place.scratch, parameters, optimiser, step + 1, log)
                bar.advance()
        tensors = result()
    place.scratch.unlink(missing_ok=True)
    return Edit(tensors, log)


def trained(model: NextScaleModel, config: FineTuneConfig) -> dict[str, nn.Parameter]:
    """The parameters that a config chooses, in state-dict order.

    Raises:
        CapabilityError: the model lacks one of the parts, or tells of no blocks where asked.
    """
    chosen = trainable(model, config.parts)
    if not config.blocks:
        return chosen
    blocks = require(model, HasBlocks, f"train.blocks={config.blocks}").blocks()
    first = {name for block in blocks[: config.blocks] for name in block}
    if not first & set(chosen):
        raise CapabilityError(f"train.blocks needs parts inside blocks, got {config.parts}")
    return {name: p for name, p in chosen.items() if name in first}


@contextlib.contextmanager
def tuned(
    model: NextScaleModel, chosen: Mapping[str, nn.Parameter], config: FineTuneConfig, seed: int
) -> Iterator[tuple[dict[str, nn.Parameter], Callable[[], dict[str, Tensor]]]]:
    """The model ready for training: precision, adapters, gradients. Restores it afterwards.

    Args:
        model: to be trained in place.
        chosen: the parameters of the trained parts.
        config: precision, checkpointing, rank.
        seed: of the adapters.

    Yields:
        What the optimiser trains, by name, and a function that tells the changed tensors, in
        host memory.
    """
    named = dict(model.weights().named_parameters())
    dtypes = held_dtypes(model, () if config.lora_rank else tuple(chosen), config.precision)
    with contextlib.ExitStack() as stack:
        stack.enter_context(executing(model, config.precision, config.checkpointing))
        stack.callback(model.weights().requires_grad_, False)
        if config.lora_rank:
            low = adapters(model.weights(), chosen, config.lora_rank, config.lora_alpha, seed)
            made = stack.enter_context(low)
            before = stack.enter_context(held(named, dtypes, keep=chosen))
            parameters, result = made.parameters, partial(made.merged, before)
        else:
            stack.enter_context(held(named, dtypes, keep=chosen))
            parameters, result = dict(chosen), partial(_on_host, chosen)
        model.weights().requires_grad_(False)
        for p in parameters.values():
            p.requires_grad_(True)
        yield parameters, result


def _on_host(named: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: p.detach().to("cpu", copy=True) for name, p in named.items()}


def new_optimiser(
    config: FineTuneConfig, parameters: Mapping[str, nn.Parameter]
) -> torch.optim.Optimizer:
    """AdamW over parameters; those of one dimension are not decayed.

    Raises:
        UserError: AdamW in 8 bit without a CUDA device.
    """
    flat = [p for p in parameters.values() if p.ndim <= 1]
    deep = [p for p in parameters.values() if p.ndim > 1]
    groups = [
        {"params": deep, "weight_decay": config.weight_decay},
        {"params": flat, "weight_decay": 0.0},
    ]
    on_cuda = all(p.is_cuda for p in parameters.values())
    betas = (config.beta1, config.beta2)
    if config.optimiser == "adamw-8bit":
        if not on_cuda:
            raise UserError("train.optimiser=adamw-8bit runs on CUDA only; use adamw here")
        from bitsandbytes.optim import AdamW8bit

        optimiser: torch.optim.Optimizer = AdamW8bit(groups, lr=config.rate, betas=betas)
        return optimiser
    # What torch picks on CUDA by itself needs room for another copy of all parameters.
    return torch.optim.AdamW(groups, lr=config.rate, betas=betas, fused=True if on_cuda else None)


def _iterate(
    objective: Objective,
    batch: Batch,
    config: FineTuneConfig,
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
) -> dict[str, float]:
    record: dict[str, float] = {}
    names = objective.terms(batch)
    conflict = Conflict(parameters, config.separate_steps) if config.log_conflict else None
    for position, name in enumerate(names):
        term, notes = objective.term(name, batch)
        if term.weight:
            (term.weight * term.value).backward()
        record[name] = float(term.value.detach())
        record |= notes
        if conflict and len(names) > 1:
            if position == 0:
                conflict.after_first()
            elif position == len(names) - 1:
                record |= conflict.after_last()
        if config.separate_steps or position == len(names) - 1:
            norm = nn.utils.clip_grad_norm_(list(parameters.values()), config.clip)
            record["norm" if position == len(names) - 1 else f"norm_{name}"] = float(norm)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    return record
