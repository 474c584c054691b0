"""UCE (Gandikota et al., WACV 2024): every matrix that reads text, edited in closed form.

``W' = argmin s_e sum_i w_i |W' u_i - W u*_i|^2 + s_p sum_j w_j |(W' - W) p_j|^2 + lam |W' - W|^2``
with u_i the text rows of prompts that say the concept, u*_i their neutral counterparts and p_j
rows that must stay. The solution is ``W' = W M``, one M for all matrices that read the rows:

``M - I = s_e sum_i w_i (u*_i - u_i) u_i^T A^-1``,
``A = lam I + s_e sum_i w_i u_i u_i^T + s_p sum_j w_j p_j p_j^T``.

Stated by the paper and its code: the objective; keys and values of cross-attention as what is
edited; s_e = s_p = 1.

Inferred for a next-scale model whose blocks all read the same text memory: one solve in all, in
float64, and which matrices. ``target: kv`` edits the keys and values of all blocks, the literal
port; the pooled text (first token, AdaLN, head) still says the concept. ``both`` edits the
pool's keys and values too, with an M of its own. ``h`` edits the maps that read the text
encoder's normed rows: the projection to the memory, and the pool.

Deviates: contexts are all rows of the training pairs, aligned token by token
(``token_alignment.py``), instead of the last subject token or the tokens from it on: a T5 reads in
both directions. The guide is the neutral side of each pair, not a fixed text. Sets weigh by their
mean, so that s_e and s_p do not depend on how many prompts there are. lam is relative to the mean
eigenvalue of A without it. The pairs' neutral sides, the empty prompt and the null condition are
always among the rows that must stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from varbench.baselines.token_alignment import Contexts, Problem, problems
from varbench.data.concept import EraseTarget
from varbench.errors import check_choice, check_least, check_positive
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.leakage import leakage
from varbench.models.protocol import NextScaleModel

TARGETS = {"kv": ("memory",), "both": ("memory", "pool"), "h": ("rows",)}
"""Text spaces whose readers are edited, by the name of the target."""

ROUNDING = 1e-6
"""Differences of rows that are smaller than this share of the largest are float32's rounding."""


@dataclass(frozen=True)
class UceConfig:
    """Settings of UCE.

    Attributes:
        target: the edited matrices, a name of :data:`TARGETS`.
        lam_rel: weight of staying near the original matrices, in mean eigenvalues of the rows'
            second moment. It bounds cond(A) by 1 + width / lam_rel.
        erase_weight, preserve_weight: s_e and s_p.
    """

    target: str = "both"
    lam_rel: float = 0.1
    erase_weight: float = 1.0
    preserve_weight: float = 1.0

    def __post_init__(self) -> None:
        check_choice("target", self.target, TARGETS)
        check_positive(lam_rel=self.lam_rel, erase_weight=self.erase_weight)
        check_least(0, preserve_weight=self.preserve_weight)


@dataclass(frozen=True)
class Solution:
    """A solved edit of one text space.

    Attributes:
        change: ``M - I``, ``[C, C]`` float64: a matrix W becomes ``W + W change``.
        condition: cond(A).
        rank: of the change, up to :data:`ROUNDING`.
    """

    change: Tensor
    condition: float
    rank: int


def solve(contexts: Contexts, lam_rel: float) -> Solution:
    """UCE's solution for contexts to change and contexts to keep alike."""
    weighted = contexts.weights[:, None] * contexts.rows
    system = weighted.T @ contexts.rows
    system.diagonal().add_(lam_rel * system.diagonal().mean())
    shift = (contexts.targets - contexts.rows).T @ weighted
    change = torch.linalg.solve(system, shift, left=False)
    spectrum = torch.linalg.eigvalsh(system)
    return Solution(
        change,
        condition=float(spectrum[-1] / spectrum[0]),
        rank=int(torch.linalg.matrix_rank(shift, rtol=ROUNDING)),
    )


def weighed(erased: Contexts, kept: Contexts, config: UceConfig) -> Contexts:
    """Contexts to erase and to keep as one set."""
    return erased.scaled(config.erase_weight).joined(kept.scaled(config.preserve_weight))


def edited(
    model: NextScaleModel, tasks: Mapping[str, Problem], changes: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The readers of all spaces as ``W + W change``, in the weights' own dtype."""
    weights = model.weights().state_dict()
    tensors = {}
    for space, task in tasks.items():
        for name in task.readers:
            exact = weights[name].cpu().double()
            tensors[name] = (exact + exact @ changes[space]).to(weights[name].dtype)
    return tensors


class Uce:
    """The ``uce`` baseline."""

    id = "uce"
    version = 1
    seeded = False
    Config: type[Any] = UceConfig

    def solution(
        self, model: NextScaleModel, space: str, task: Problem, config: Any
    ) -> tuple[Tensor, dict[str, float]]:
        """``M - I`` of one text space, and numbers for the log."""
        solved = solve(weighed(task.erased, task.kept, config), config.lam_rel)
        return solved.change, {f"condition_{space}": solved.condition, f"rank_{space}": solved.rank}

    def erase(
        self, model: NextScaleModel, concept: EraseTarget, config: Any, context: TrainingContext
    ) -> Edit:
        tasks = problems(model, concept, TARGETS[config.target], self.id)
        changes, log = {}, dict[str, float]()
        for space, task in tasks.items():
            changes[space], numbers = self.solution(model, space, task, config)
            log |= numbers
        tensors = edited(model, tasks, changes)
        notes = leakage(model, Edit(tensors), concept.pairs(), context.seed)
        return Edit(tensors, [log], notes)
