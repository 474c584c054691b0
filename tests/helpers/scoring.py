"""Scorers by role, and scorers of stand-in networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from varbench.scoring.base import Scorer
from varbench.scoring.evaluator import ScorerPool
from varbench.scoring.registry import SCORERS

Kind = TypeVar("Kind")


def new_scorer(role: str, *, network_set: str = "gallery") -> Scorer:
    """The scorer of a role, whose network is not loaded yet."""
    scorer: Scorer = ScorerPool().of_roles(SCORERS[network_set], [role])[role]
    return scorer


def stand_in(kind: type[Kind], load: Callable[[], Any], **settings: Any) -> Kind:
    """A scorer with the network that `load` returns in place of its own."""
    made: Kind = type(kind.__name__, (kind,), {"_load": lambda self: load()})(**settings)
    return made
