"""Compatibility of model, suite and concept.

The Gallery has a small vocabulary: most words of real prompts are unknown to it. A released model
reads the Gallery's prompts well, but the Gallery's judge knows only the Gallery's drawings: such a
run tests the pipeline, and its numbers mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from varbench.conf.compose import names as config_names
from varbench.conf.compose import resolve
from varbench.conf.schema import ModelConfig, SuiteConfig
from varbench.data import published
from varbench.data.concept import Concept
from varbench.data.concept_files import list_concepts, load_concept
from varbench.data.groups import TARGET
from varbench.errors import UserError
from varbench.methods.registry import NONE
from varbench.models.weights.released import ReleasedConfig
from varbench.scoring.registry import JUDGES
from varbench.utils.files import packaged
from varbench.utils.text import normalise

GALLERY = "gallery"
"""Name of the embedded model, and of the networks that know its drawings."""


def check_compatible(model: ModelConfig, suite: SuiteConfig, concepts: Sequence[Concept]) -> None:
    """Refuse concepts and suites that the Gallery cannot read.

    Raises:
        UserError: most of a concept's target prompts have words that the Gallery does not know, or
            the suite asks for published prompts; names concepts or suites that fit.
    """
    if model.name != GALLERY:
        return
    tokenizer = packaged("models/gallery/weights") / "text" / "tokenizer.json"
    known = set(json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"])
    for concept in concepts:
        prompts = [normalise(prompt.text).split() for prompt in concept.group(TARGET)]
        unread = [words for words in prompts if not known.issuperset(words)]
        if 2 * len(unread) > len(prompts):
            unknown = ", ".join(repr(word) for word in unread[0] if word not in known)
            raise UserError(
                f"concept {concept.name!r} is for real models: the Gallery does not know {unknown} "
                f"of its prompts; concepts that fit: {_packaged(for_gallery)}"
            )
    for group, prompt_set in published_groups(suite).items():
        suites = {name: resolve(GALLERY, name, NONE).suite for name in config_names("suite")}
        fitting = ", ".join(name for name, other in suites.items() if not published_groups(other))
        raise UserError(
            f"suite {suite.name!r} is for real models: its group {group!r} uses {prompt_set!r}, "
            f"whose words the Gallery does not know; suites that fit: {fitting}"
        )


def compatibility_warnings(model: ModelConfig, concepts: Sequence[Concept]) -> list[str]:
    """Warn of each concept whose numbers mean nothing on a released model."""
    if not isinstance(model, ReleasedConfig):
        return []
    names = [concept.name for concept in concepts if for_gallery(concept)]
    fitting = _packaged(lambda concept: not for_gallery(concept)) if names else ""
    return [
        f"concept {name!r} is the Gallery's, whose judge knows only its own drawings: its numbers "
        f"on {model.name} mean nothing; concepts that fit: {fitting}"
        for name in dict.fromkeys(names)
    ]


def for_gallery(concept: Concept) -> bool:
    """True if the concept's judge is one of the Gallery's."""
    kind = JUDGES.get(concept.judge.name)
    return kind is not None and kind.network_set == GALLERY


def _packaged(fits: Callable[[Concept], bool]) -> str:
    loaded = []
    for name in list_concepts():
        try:
            loaded.append(load_concept(name))
        except UserError:  # an unusable plugin's; `varbench list` reports it
            continue
    return ", ".join(concept.name for concept in loaded if fits(concept))


def published_groups(suite: SuiteConfig) -> dict[str, str]:
    """Groups of the suite with published prompt sets, and the name of each set."""
    known = published.prompt_sets()
    return {g: size.set for g, size in suite.groups.items() if size.seeds and size.set in known}
