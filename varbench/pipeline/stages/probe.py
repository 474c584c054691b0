"""The stage ``probe``: what metrics need of a model besides its images.

For some prompts of what must stay, one image seed each, the unerased model's roll-outs are made
once (stage ``rollouts``) and shared by all methods. On them the unerased and the edited model say
what they expect of every symbol (teacher forcing: one forward pass for all scales), with the prompt
and with the null condition. Kept are means per prompt and scale, some hundred numbers:

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from varbench.data.groups import KEPT
from varbench.methods.base import Edit, applied
from varbench.metrics import PROBE, ScoredImages
from varbench.models import registry
from varbench.models.protocol import Condition, NextScaleModel, Rollout
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Cell, Sample, blocks
from varbench.pipeline.stages import generate
from varbench.store import Entry

VERSION = 1
ROLLOUTS = "rollouts"
Logits = tuple[Tensor, Tensor]
"""Of one image, ``[1, L, D, V]``: with the prompt, with the null condition."""
Summary = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ProbeOutputs:
    """What was asked of one model.

    Attributes:
        rows: the prompts of each group.
        histories: the unerased model's roll-outs, by block over all groups.
        answers: the entries of the same blocks; none where the method changes sampling only.
    """

    rows: Mapping[str, list[Sample]] = field(default_factory=dict)
    histories: Sequence[Entry] = ()
    answers: Sequence[Entry] = ()

    def groups(self) -> dict[str, ScoredImages]:
        """What metrics see."""
        if not self.answers:
            return {}
        parts = [np.load(entry.path("probe.npz"), allow_pickle=False) for entry in self.answers]
        every = {name: np.concatenate([part[name] for part in parts]) for name in parts[0].files}
        made, start = {}, 0
        for group, rows in self.rows.items():
            own = {name: array[start : start + len(rows)] for name, array in every.items()}
            made[group] = ScoredImages(
                [r.prompt for r in rows], [r.seed for r in rows], {PROBE: own}
            )
            start += len(rows)
        return made

    def entries(self) -> list[Entry]:
        """Everything that values were computed from."""
        return [*self.histories, *self.answers]


def probe(
    ctx: RunContext, cell: Cell, edit: Entry | None, base: ProbeOutputs | None
) -> ProbeOutputs:
    """Ask a cell's model, where the store has no answers yet.

    Args:
        shop: the place of work.
        cell: what to probe.
        edit: the cell's edit; None for the unerased model.
        base: what was asked of the unerased model; None if the cell is that model's.
    """
    rows = probed_rows(cell)
    todo = list(blocks([row for group in rows.values() for row in group], cell.config.suite.block))
    if generate.steering_spec(cell) is not None:
        return ProbeOutputs(rows)
    histories = base.histories if base is not None else roll_outs(ctx, cell, todo)
    specs = [
        {
            "version": VERSION,
            "model": registry.fingerprint(cell.config.model),
            "edit": edit.key if edit else None,
            "rollouts": entry.key,
        }
        for entry in histories
    ]
    found = [ctx.store.get(PROBE, spec) for spec in specs]
    missing = [i for i, entry in enumerate(found) if entry is None]
    if missing:
        some = [(specs[i], histories[i], todo[i]) for i in missing]
        for i, entry in zip(missing, _ask(ctx, cell, edit, some), strict=True):
            found[i] = entry
    return ProbeOutputs(rows, histories, [entry for entry in found if entry is not None])


def probed_rows(cell: Cell) -> dict[str, list[Sample]]:
    """The first so many prompts of each kept group, each with its first image seed."""
    rows: dict[str, list[Sample]] = {}
    for name, group in cell.groups().items():
        first = list({row.prompt.id: row for row in reversed(group)}.values())[::-1]
        if name in KEPT and (chosen := first[: cell.config.suite.probe.prompts]):
            rows[name] = chosen
    return rows


def rollouts_spec(cell: Cell, block: Sequence[Sample]) -> dict[str, Any]:
    """What decides the unerased model's roll-outs of a block, whatever the cell's method."""
    return generate.images_spec(cell, block, None) | {"steering": None, ROLLOUTS: VERSION}


def roll_outs(ctx: RunContext, cell: Cell, todo: Sequence[Sequence[Sample]]) -> list[Entry]:
    """The unerased model's roll-outs of all blocks, made where they are not there.

    The model must be as it is, with no edit applied.
    """
    entries = []
    for block in todo:
        spec = rollouts_spec(cell, block)
        entry = ctx.store.get(ROLLOUTS, spec)
        if entry is None:
            model = generate.prepared(ctx, cell, block)
            guidance = model.guidance(cell.config.model.sampling.guidance)
            rollout = generate.sample_batch(cell, model, guidance, block)
            with ctx.write(ROLLOUTS, spec) as writer:
                kept = {"tokens": rollout.tokens, "inputs": rollout.inputs}
                arrays = {name: t[: len(block)].cpu().contiguous() for name, t in kept.items()}
                (writer.dir / "rollouts.safetensors").write_bytes(save(arrays))
            entry = writer.entry
        assert entry is not None
        entries.append(entry)
    return entries


@torch.no_grad()
def _ask(
    ctx: RunContext,
    cell: Cell,
    edit: Entry | None,
    todo: Sequence[tuple[dict[str, Any], Entry, Sequence[Sample]]],
) -> list[Entry]:
    """Probe blocks, each with its spec and the unerased model's roll-outs."""
    model = generate.prepared(ctx, cell, [row for _, _, block in todo for row in block])
    change = Edit.load(edit.path("edit.safetensors")) if edit else None
    total = sum(len(block) for _, _, block in todo) * (2 if edit else 1)
    made = []
    with ctx.progress.stage(PROBE, total) as bar:
        asked = []
        for spec, entry, block in todo:
            history = read_history(entry, model)
            text = model.encode([row.prompt.text for row in block])
            before = []
            for i in range(len(block)):
                logits = _predict(model, history.select([i]), text.select([i]))
                before.append((logits[0].cpu(), logits[1].cpu()))
                bar.advance()
            asked.append((spec, block, history, text, before))
        with applied(model, change):
            guidance = generate.guidance_of(cell, model)
            for spec, block, history, text, before in asked:
                own = generate.sample_batch(cell, model, guidance, block) if edit else history
                rows = []
                for i, old in enumerate(before):
                    if edit:
                        prompt = text.select([i])
                        new = _predict(model, history.select([i]), prompt)
                        rows.append(summary(old, new, model.logits(own.select([i]), prompt), model))
                        bar.advance()
                    else:
                        rows.append(summary(old, old, old[0], model))
                with ctx.write(PROBE, spec) as writer:
                    arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
                    np.savez(writer.dir / "probe.npz", allow_pickle=False, **arrays)
                assert writer.entry is not None
                made.append(writer.entry)
    return made


def read_history(entry: Entry, model: NextScaleModel) -> Rollout:
    """The roll-outs that :func:`roll_outs` stored, where the model's weights are."""
    held = load_file(entry.path("rollouts.safetensors"), device=str(model.device))
    return Rollout(held["tokens"], held["inputs"], model.schedule)


def _predict(model: NextScaleModel, history: Rollout, prompt: Condition) -> Logits:
    return model.logits(history, prompt), model.logits(history, model.null(prompt))


def summary(before: Logits, after: Logits, own: Tensor, model: NextScaleModel) -> Summary:
    """The probe's numbers of one image, each ``[scales]``; see the module's docstring.

    Args:
        before: the unerased model's logits on its roll-out.
        after: the edited model's on the same.
        own: the edited model's ``[1, L, D, V]``, with the prompt, on its own roll-out.
        model: whose schedule says which tokens belong to which scale.
    """
    # Double precision: differences of nearly equal logarithms, and exact zeros stay zeros.
    p0, p0_null = (_log_p(logits.to(after[0].device)) for logits in before)
    p, p_null = (_log_p(logits) for logits in after)
    own_p, values = _log_p(own).exp(), p.shape[-1]
    found = {
        "kl": _kl(p0, p) / math.log2(values),
        "kl_null": _kl(p0_null, p_null) / math.log2(values),
        "flips": (p0.exp() - p.exp()).abs().sum(-1) / 2,
        "strength": (p - p_null).abs().sum(-1) * 2 / values,
        "entropy": -torch.special.xlogy(own_p, own_p).sum(-1) / math.log(values),
    }
    scales = list(model.schedule.slices())
    means = {name: torch.stack([x[rows].mean() for rows in scales]) for name, x in found.items()}
    return {name: x.float().cpu().numpy() for name, x in means.items()}


def _log_p(logits: Tensor) -> Tensor:
    return logits[0].double().log_softmax(dim=-1)  # [L, D, V]


def _kl(p: Tensor, q: Tensor) -> Tensor:
    # Never negative; rounding could make it so.
    return (p.exp() * (p - q)).sum(-1).clamp(min=0)
