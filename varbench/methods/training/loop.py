"""THE training loop of all fine-tuning methods: same optimiser, batches, seeds, checkpoints.

A method supplies an objective (``objective.py``); the loop adds its terms up for one optimiser step
(the formula), or takes one step per term (the released code), clips, logs and resumes. Precision
is described in ``precision.py``, low-rank adapters in ``lora.py``.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from varbench.data.concept import EraseTarget
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.training.checkpoints import resume, save
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.gradient_conflict import GradientConflict
from varbench.methods.training.lora import adapters
from varbench.methods.training.objective import Batch, Objective
from varbench.methods.training.precision import cast_parameters, execution_mode, training_dtypes
from varbench.models.capabilities import HasBlocks, require
from varbench.models.protocol import CapabilityError, NextScaleModel, trainable

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


def trained_parameters(model: NextScaleModel, config: FineTuneConfig) -> dict[str, nn.Parameter]:
    """The parameters that a config chooses, in state-dict order.

    Raises:
        CapabilityError: the model lacks one of the parts, or has no blocks to choose from.
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
def training_mode(
    model: NextScaleModel, chosen: Mapping[str, nn.Parameter], config: FineTuneConfig, seed: int
) -> Iterator[tuple[dict[str, nn.Parameter], Callable[[], dict[str, Tensor]]]]:
    """The model ready for training: precision, adapters, gradients. Restores it afterwards.

    Args:
        model: to be trained in place.
        chosen: the parameters of the trained parts.
        config: precision, checkpointing, rank.
        seed: of the adapters.

    Yields:
        The parameters that the optimiser trains, by name, and a function that returns the changed
        tensors, in host memory.
    """
    named = dict(model.weights().named_parameters())
    dtypes = training_dtypes(model, () if config.lora_rank else tuple(chosen), config.precision)
    with contextlib.ExitStack() as stack:
        stack.enter_context(execution_mode(model, config.precision, config.checkpointing))
        stack.callback(model.weights().requires_grad_, False)
        if config.lora_rank:
            context = adapters(model.weights(), chosen, config.lora_rank, config.lora_alpha, seed)
            low_rank = stack.enter_context(context)
            originals = stack.enter_context(cast_parameters(named, dtypes, keep=chosen))
            parameters, result = low_rank.parameters, partial(low_rank.merged, originals)
        else:
            stack.enter_context(cast_parameters(named, dtypes, keep=chosen))
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
