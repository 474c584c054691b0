"""RECE (Gong et al., ECCV 2024): UCE, then rounds of attack and UCE on what the attack finds.

The attack finds the text row x for which the edited matrices W' = W M give what the original ones
give for a concept's row u, in closed form:

``x = argmin sum_W |W' x - W u|^2 + r |x|^2 = (r I + M^T G M)^-1 M^T G u``, ``G = sum_W W^T W``

over all matrices W that read the space. Then UCE edits W' once more, with x in u's place: same
neutral counterparts, same rows that must stay.

Stated by the paper and its code: both equations; the start from UCE; r = 0.1 or 1e-3, one to
three rounds.

Inferred for a next-scale model: ``target`` as in UCE, each space with a G of its own; r relative
to the mean eigenvalue of M^T G M.

Deviates: rows that were answered must stay as they are read then, or the next answers, which know
only x, let the concept's own rows say it again. The last round is not the best of several on
validation images but the first whose attack regains too little, ``regained = 1 -
sum_i w_i sum_W |W' x_i - W u_i|^2 / sum_i w_i sum_W |W u*_i - W u_i|^2`` with u* the neutral
counterpart: 1 is the concept in full, 0 no more than the neutral prompt says anyway. (The norm of
x tells nothing here: a row of a prompt is mostly what the prompt shares with its neutral twin,
and x gives that back.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from varbench.baselines.token_alignment import Contexts, Problem
from varbench.baselines.uce import Uce, UceConfig, solve, weighed
from varbench.errors import check_positive
from varbench.models.protocol import NextScaleModel


@dataclass(frozen=True)
class ReceConfig:
    """Settings of RECE.

    Attributes:
        rounds: attacks that are answered, at most.
        attack_rel: r, in mean eigenvalues of M^T G M; smaller lets the attack go further.
        enough: share that an attack may regain without being answered.
        uce: of the first edit and of those that answer.
    """

    rounds: int = 3
    attack_rel: float = 0.01
    enough: float = 0.05
    uce: UceConfig = field(default_factory=UceConfig)

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}; without any it is uce")
        check_positive(attack_rel=self.attack_rel)
        if not 0 <= self.enough < 1:
            raise ValueError(f"enough is a share from 0 to below 1, got {self.enough}")

    @property
    def target(self) -> str:
        """The edited matrices, as in UCE."""
        return self.uce.target


def gram(matrices: Sequence[Tensor]) -> Tensor:
    """``sum W^T W``, ``[C, C]`` float64, of matrices ``[*, C]``."""
    width = matrices[0].shape[1]
    total = torch.zeros(width, width, dtype=torch.float64)
    for matrix in matrices:
        exact = matrix.cpu().double()
        total += exact.T @ exact
    return total


def attack(gram_CC: Tensor, multiplier_CC: Tensor, rows_NC: Tensor, rel: float) -> Tensor:
    """Rows ``[N, C]`` for which W M gives what W gives for ``rows_NC``, as far as ``rel`` lets."""
    projection = multiplier_CC.T @ gram_CC
    system = projection @ multiplier_CC
    system.diagonal().add_(rel * system.diagonal().mean())
    attacks_CN: Tensor = torch.linalg.solve(system, projection @ rows_NC.T)
    return attacks_CN.T


def regained(gram_CC: Tensor, multiplier_CC: Tensor, attacks_NC: Tensor, erased: Contexts) -> float:
    """Share of the concept that an attack's rows bring back; see the module."""

    def distance(rows: Tensor) -> float:
        gap = rows - erased.rows
        return float(erased.weights @ ((gap @ gram_CC) * gap).sum(dim=1))

    apart = distance(erased.targets)
    return 1 - distance(attacks_NC @ multiplier_CC.T) / apart if apart else 0.0


def answered(task: Problem, gram_CC: Tensor, config: ReceConfig) -> tuple[Tensor, list[float]]:
    """UCE and the answered attacks in one text space.

    Returns:
        M - I, and the share that each attack regained, including the one that was not answered.
    """
    identity = torch.eye(len(gram_CC), dtype=torch.float64)
    multiplier, erased, kept, shares = identity, task.erased, task.kept, list[float]()
    while True:
        solution = solve(weighed(erased, kept, config.uce), config.uce.lam_rel)
        multiplier = multiplier @ (identity + solution.change)
        if len(shares) == config.rounds:
            break
        kept = kept.joined(erased.unchanged())
        rows = attack(gram_CC, multiplier, task.erased.rows, config.attack_rel)
        shares.append(regained(gram_CC, multiplier, rows, task.erased))
        if shares[-1] <= config.enough:
            break
        erased = replace(task.erased, rows=rows)
    return multiplier - identity, shares


class Rece(Uce):
    """The ``rece`` baseline."""

    id = "rece"
    Config = ReceConfig

    def solution(
        self, model: NextScaleModel, space: str, task: Problem, config: Any
    ) -> tuple[Tensor, dict[str, float]]:
        weights = model.weights().state_dict()
        change, shares = answered(task, gram([weights[name] for name in task.readers]), config)
        return change, {f"regained_{space}_{number}": s for number, s in enumerate(shares)}
