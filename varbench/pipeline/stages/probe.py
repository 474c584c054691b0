"""The stage ``probe``: what metrics need of a model besides its images.

For some prompts of what must stay, one seed each, the base model's roll-outs are made once (stage
``rollouts``) and shared by all methods. On them the base and the edited model predict every symbol
(teacher forcing: one forward pass for all scales), with the prompt and with the null condition.
Kept are means per prompt and scale, some hundred numbers:

    kl        KL(p_0 || p_theta) / log2 V, nats per bit
    kl_null   the same for the null condition
    flips     total variation between p_0 and p_theta, 0 to 1: the share of symbols that the same
              random numbers would draw differently
    strength  (2 / V) sum_v |log p_theta(v | prompt) - log p_theta(v | null)|; for bits the distance
              of the log-odds
    entropy   of p_theta on the model's OWN roll-out of the prompt, by log V, 0 to 1

p are plain conditional predictions, without guidance. Both sides are computed side by side, image
by image, on one machine: an edit that changes nothing gives exactly 0, and no batch size matters.
Methods that change sampling only change no prediction: for them there is nothing to probe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from varbench.data.groups import KEPT
from varbench.models.protocol import Condition, NextScaleModel, Rollout
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Cell, Sample
from varbench.pipeline.stages.generate import sample_batch
from varbench.pipeline.stages.rollouts import read_rollouts
from varbench.pipeline.task import Task, edit_of, of_stage
from varbench.store import Entry, Stage, Writer

VERSION = 1
Logits = tuple[Tensor, Tensor]
"""Of one image, ``[1, L, D, V]``: with the prompt, with the null condition."""
Summary = dict[str, NDArray[np.float32]]


def probed_samples(cell: Cell) -> dict[str, list[Sample]]:
    """The first so many prompts of each kept group, each with its first seed."""
    samples: dict[str, list[Sample]] = {}
    for name, group in cell.groups().items():
        first = list({s.prompt.id: s for s in reversed(group)}.values())[::-1]
        if name in KEPT and (chosen := first[: cell.config.suite.probe.prompts]):
            samples[name] = chosen
    return samples


def probe_tasks(
    ctx: RunContext, cell: Cell, rollouts: Sequence[Task], edit: Task | None
) -> list[Task]:
    """The probe of a model, one task for each batch of roll-outs."""
    common = {
        "version": VERSION,
        "model": ctx.fingerprint(cell),
        "edit": edit.key if edit else None,
    }
    needs = (edit,) if edit else ()
    return [
        Task(
            Stage.PROBE, common | {"rollouts": task.key}, cell, _compute, task.samples,
            needs=(*needs, task), label="answers",
        )
        for task in rollouts
    ]  # fmt: skip


@torch.no_grad()
def _compute(ctx: RunContext, task: Task, inputs: Sequence[Entry], writer: Writer) -> None:
    edit, (rollouts,) = edit_of(inputs), of_stage(inputs, Stage.ROLLOUTS)
    model = ctx.model(task.cell)
    history = read_rollouts(rollouts, model)
    text = model.encode([sample.prompt.text for sample in task.samples])
    images = range(len(task.samples))
    before = [_predict(model, history.select([i]), text.select([i])) for i in images]
    if edit is None:
        summaries = [summary(logits, logits, logits[0], model) for logits in before]
    else:
        model = ctx.model(task.cell, edit)
        drawn = sample_batch(task, model, ctx.guidance(task.cell, model))
        summaries = []
        for i, logits in zip(images, before, strict=True):
            history_i, prompt = history.select([i]), text.select([i])
            after = model.logits(history_i, prompt), model.logits(history_i, model.null(prompt))
            own = model.logits(drawn.select([i]), prompt)
            summaries.append(summary(logits, after, own, model))
    arrays = {name: np.stack([one[name] for one in summaries]) for name in summaries[0]}
    np.savez(writer.dir / "probe.npz", allow_pickle=False, **arrays)


def _predict(model: NextScaleModel, history: Rollout, prompt: Condition) -> Logits:
    """The base model's predictions on one roll-out, in host memory, where they wait."""
    null = model.null(prompt)
    return model.logits(history, prompt).cpu(), model.logits(history, null).cpu()


def summary(before: Logits, after: Logits, own: Tensor, model: NextScaleModel) -> Summary:
    """The probe's numbers of one image, each ``[scales]``; see the module's docstring.

    Args:
        before: the base model's logits on its roll-out.
        after: the edited model's on the same.
        own: the edited model's ``[1, L, D, V]``, with the prompt, on its own roll-out.
        model: whose schedule says which tokens belong to which scale.
    """
    # Double precision: differences of nearly equal logarithms, and exact zeros stay zeros.
    p0, p0_null = (_log_p(logits.to(after[0].device)) for logits in before)
    p, p_null = (_log_p(logits) for logits in after)
    own_p, symbols = _log_p(own).exp(), p.shape[-1]
    values = {
        "kl": _kl(p0, p) / math.log2(symbols),
        "kl_null": _kl(p0_null, p_null) / math.log2(symbols),
        "flips": (p0.exp() - p.exp()).abs().sum(-1) / 2,
        "strength": (p - p_null).abs().sum(-1) * 2 / symbols,
        "entropy": -torch.special.xlogy(own_p, own_p).sum(-1) / math.log(symbols),
    }
    scales = list(model.schedule.slices())
    means = {name: torch.stack([x[rows].mean() for rows in scales]) for name, x in values.items()}
    return {name: x.float().cpu().numpy() for name, x in means.items()}


def _log_p(logits: Tensor) -> Tensor:
    return logits[0].double().log_softmax(dim=-1)  # [L, D, V]


def _kl(p: Tensor, q: Tensor) -> Tensor:
    # Never negative; rounding could make it so.
    return (p.exp() * (p - q)).sum(-1).clamp(min=0)
