"""How many images a suite makes for a concept, also where published prompt sets are not here."""

from __future__ import annotations

import dataclasses

from varbench.conf.schema import GroupConfig, NoConfig, RunConfig, SuiteConfig
from varbench.data import published
from varbench.data.concept import Concept
from varbench.data.erase_target import EraseTarget
from varbench.data.prompt import MissingPromptSetError
from varbench.data.prompt_sets import load_prompt_set
from varbench.methods.registry import NONE
from varbench.pipeline.plan import Cell


def images(suite: SuiteConfig, concept: Concept) -> dict[str, int]:
    """Images of each group that one method draws.

    Of a published set that is not on this machine its known number of prompts counts, so the
    group may turn out smaller: prompts of another split, or that show the concept, are left out.

    Raises:
        PromptSetError: a set of the suite is unknown or malformed.
    """
    absent = {name: size for name, size in suite.groups.items() if not _here(size)}
    here = {name: size for name, size in suite.groups.items() if name not in absent}
    config = RunConfig(suite=dataclasses.replace(suite, groups=here), method=NoConfig())
    cell = Cell(config, NONE, concept, EraseTarget((concept,)), concept.name, 0, ())
    counted = {name: len(rows) for name, rows in cell.groups().items()}
    for name, size in absent.items():
        if size.fits(concept.family):
            one = published.prompt_sets()[size.set]
            there = one.prompts or one.rows or 0
            counted[name] = min(size.prompts or there, there) * size.seeds
    return {name: counted[name] for name in suite.groups if name in counted}


def _here(size: GroupConfig) -> bool:
    if not size.set:
        return True
    try:
        load_prompt_set(size.set)
    except MissingPromptSetError:
        return False
    return True
