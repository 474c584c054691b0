"""The judge of a classifier with heads: its scorer has stored the labels already."""

from __future__ import annotations

from collections.abc import Mapping

from varbench.data.concept import Concept
from varbench.metrics.base import Arrays, Scorer
from varbench.scoring.scorers.judge import JudgeScorer


class HeadsJudge:
    """Sees what the scorer `judge` saw.

    Args:
        concept: not asked; the classifier's heads are fixed.
        scorers: by role; `judge` is a :class:`JudgeScorer`.
    """

    version = 1

    def __init__(self, concept: Concept, scorers: Mapping[str, Scorer]) -> None:
        classifier = scorers["judge"]
        assert isinstance(classifier, JudgeScorer)
        self._classifier = classifier

    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        return self._classifier.labels

    def fingerprint(self) -> str:
        return self._classifier.fingerprint()

    def see(self, scores: Mapping[str, Arrays]) -> Arrays:
        return scores["judge"]
