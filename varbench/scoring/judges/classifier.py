"""Labels of a classifier with several heads, as its scorer has stored them."""

from __future__ import annotations

from collections.abc import Mapping

from varbench.data.concept import Concept
from varbench.metrics.groups import Arrays
from varbench.scoring.base import Scorer
from varbench.scoring.scorers.judge import JudgeScorer


class ClassifierJudge:
    """Returns the labels that the scorer `judge` stored.

    Args:
        concept: not used; the classifier's heads are fixed.
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

    def predict(self, scores: Mapping[str, Arrays]) -> Arrays:
        return scores["judge"]
