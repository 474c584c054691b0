"""Names of the stages: folders of the store, and parts of every key that refers to an entry."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """The stages, in the order of a run; the values are names on disk and never change."""

    EDIT = "edit"
    IMAGES = "pictures"
    ROLLOUTS = "rollouts"
    PROBE = "probe"
    ATTACK = "attack"
    COMPLETIONS = "completions"
    ATTACKED = "attacked"
    REFERENCE = "reference"
    SCORES = "scores"
    COMPARE = "compare"
    CELL = "cell"
    ABLATION = "ablation"
    TEXT = "text"
