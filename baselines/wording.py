"""A concept as one prompt, for methods that guide away from it while an image is sampled."""

from __future__ import annotations

from varbench.data.erase_target import EraseTarget
from varbench.models.protocol import Condition, NextScaleModel


def concept_prompt(concept: EraseTarget) -> str:
    """All words and synonyms, separated by commas."""
    return ", ".join([*concept.words, *concept.synonyms])


def concept_condition(model: NextScaleModel, concept: EraseTarget, prompt: str) -> Condition:
    """The condition of one prompt: the given one, or where it is empty the concept's own."""
    return model.encode([prompt or concept_prompt(concept)])
