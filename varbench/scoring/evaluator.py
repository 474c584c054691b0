"""Evaluator of one concept: its scorers, its comparers, its judge, and the metrics they allow.

A metric's ``needs`` name roles of scorers and comparers, ``judge``, ``judge.NAME`` for arrays that
only some judges provide, and outputs of the model itself: ``probe``, ``completion``, ``attack``. It
is computed for a concept if its needs can be met; only scorers that are needed run. A judge reads
what scorers stored, so that another judge of the same scores costs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from varbench.data.concept import Concept
from varbench.errors import UserError, unknown
from varbench.metrics.base import OF_MODEL, Metric
from varbench.metrics.groups import ScoredImages
from varbench.scoring.base import Comparer, Judge, ReferenceJudge, Scorer
from varbench.scoring.registry import COMPARERS, SCORERS, Target, judge_spec, load


@dataclass
class ScorerPool:
    """Scorers and comparers of one process, each made once, so that each network is loaded once."""

    device: str = "cpu"
    _made: dict[Target, Any] = field(default_factory=dict)

    def of_roles(self, targets: Mapping[str, Target], roles: Collection[str]) -> dict[str, Any]:
        """The scorers or comparers of a network set with these roles, in the order of the set."""
        wanted = {role: target for role, target in targets.items() if role in roles}
        for target in wanted.values():
            if target not in self._made:
                self._made[target] = load(target)(device=self.device)
        return {role: self._made[target] for role, target in wanted.items()}


def judged(groups: Mapping[str, ScoredImages], judge: Judge) -> dict[str, ScoredImages]:
    """The groups with the judge's predictions among their scores."""
    return {
        name: replace(group, scores={**group.scores, "judge": judge.predict(group.scores)})
        for name, group in groups.items()
    }


class Evaluator:
    """Scorers, comparers, judge and metrics of one concept.

    Args:
        concept: its judge decides the networks.
        names: ids of metrics; none = all whose needs can be met.

    Attributes:
        required: the needs of the metrics, as `Metric.info.needs` names them.

    Raises:
        UserError: an unknown judge or metric, or no metric that can be computed.
    """

    def __init__(
        self,
        concept: Concept,
        names: Sequence[str],
        metrics: Mapping[str, Metric],
        pool: ScorerPool,
    ) -> None:
        self._concept = concept
        self.judge_spec = spec = judge_spec(concept.judge.name)
        for name in names:
            if name not in metrics:
                raise unknown("metric", name, metrics)
        available = {"judge", *OF_MODEL, *SCORERS[spec.network_set], *COMPARERS[spec.network_set]}
        available |= {f"judge.{name}" for name in spec.provides}
        requested = names or list(metrics)
        self.metrics: dict[str, Metric] = {
            name: metric
            for name, metric in metrics.items()
            if name in requested and available.issuperset(metric.info.needs)
        }
        if not self.metrics:
            raise UserError(
                f"none of the metrics {', '.join(requested)} can be computed with judge "
                f"{concept.judge.name!r}, which offers {', '.join(sorted(available))}"
            )
        self.required = {need for metric in self.metrics.values() for need in metric.info.needs}
        roles = self.required | set(spec.roles)
        self.scorers: dict[str, Scorer] = pool.of_roles(SCORERS[spec.network_set], roles)
        self.comparers: dict[str, Comparer] = pool.of_roles(COMPARERS[spec.network_set], roles)

    @cached_property
    def judge(self) -> Judge:
        """The concept's judge."""
        judge: Judge = load(self.judge_spec.target)(self._concept, self.scorers)
        return judge

    @property
    def judge_scorers(self) -> dict[str, Scorer]:
        """The scorers whose arrays the judge reads, by role."""
        return {role: s for role, s in self.scorers.items() if role in self.judge_spec.roles}

    def judge_of(self, base: Mapping[str, ScoredImages]) -> Judge:
        """The judge ready to predict, with references from the base model's images if needed."""
        if isinstance(self.judge, ReferenceJudge):
            return self.judge.with_references(base)
        return self.judge

    @cached_property
    def spec(self) -> Mapping[str, Any]:
        """Versions and fingerprints that decide the numbers, besides the images."""
        return {
            "metrics": {id: metric.info.version for id, metric in self.metrics.items()},
            "scorers": {role: [s.version, s.fingerprint()] for role, s in self.scorers.items()},
            "comparers": {role: [c.version, c.fingerprint()] for role, c in self.comparers.items()},
            "judge": [self.judge.version, self.judge.fingerprint()],
        }
