"""Whether a concept and a suite mean anything to a model.

The Gallery has a small vocabulary of its own: of real prompts it would read a row of unknown words.
A released model reads the Gallery's prompts well, but the Gallery's judge knows only the Gallery's
drawings: that run is good for trying things out, and its numbers for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from varbench.conf.schema import ModelConfig, SuiteConfig, names, resolve
from varbench.data import published
from varbench.data.concept import Concept, list_concepts, load_concept
from varbench.data.groups import TARGET
from varbench.errors import UserError
from varbench.methods.registry import NONE
from varbench.models.gallery.world.captions import vocabulary
from varbench.models.weights.released import ReleasedConfig
from varbench.scoring.evaluator import JUDGES
from varbench.utils.text import normalise

GALLERY = "gallery"
"""Name of the embedded model, and of the set of instruments that know its drawings."""


def check_compatible(model: ModelConfig, suite: SuiteConfig, concepts: Sequence[Concept]) -> None:
    """Refuse what the Gallery cannot read.

    Raises:
        UserError: most of a concept's target prompts have words that the Gallery does not know, or
            the suite asks for published prompts; names concepts or suites that fit.
    """
    if model.name != GALLERY:
        return
    known = set(vocabulary())
    for concept in concepts:
        prompts = [normalise(prompt.text).split() for prompt in concept.group(TARGET)]
        strange = [words for words in prompts if not known.issuperset(words)]
        if 2 * len(strange) > len(prompts):
            unknown = ", ".join(repr(word) for word in strange[0] if word not in known)
            raise UserError(
                f"concept {concept.name!r} is for real models: the Gallery does not know {unknown} "
                f"of its prompts; concepts that fit: {_fitting(for_gallery)}"
            )
    for group, asked in published_groups(suite).items():
        suites = {name: resolve(GALLERY, name, NONE).suite for name in names("suite")}
        fitting = ", ".join(name for name, one in suites.items() if not published_groups(one))
        raise UserError(
            f"suite {suite.name!r} is for real models: its group {group!r} asks for {asked!r}, "
            f"whose words the Gallery does not know; suites that fit: {fitting}"
        )


def misfits(model: ModelConfig, concepts: Sequence[Concept]) -> list[str]:
    """One warning for each concept whose numbers will mean nothing on a released model."""
    if not isinstance(model, ReleasedConfig):
        return []
    strangers = [concept.name for concept in concepts if for_gallery(concept)]
    fitting = _fitting(lambda concept: not for_gallery(concept)) if strangers else ""
    return [
        f"concept {name!r} is the Gallery's, whose judge knows only its own drawings: its numbers "
        f"on {model.name} mean nothing; concepts that fit: {fitting}"
        for name in dict.fromkeys(strangers)
    ]


def for_gallery(concept: Concept) -> bool:
    """Whether the concept's judge is one of the Gallery's."""
    kind = JUDGES.get(concept.judge.name)
    return kind is not None and kind.set == GALLERY


def _fitting(fits: Callable[[Concept], bool]) -> str:
    packaged = []
    for name in list_concepts():
        try:
            packaged.append(load_concept(name))
        except UserError:  # a plugin's that cannot be used, which `varbench list` tells
            continue
    return ", ".join(concept.name for concept in packaged if fits(concept))


def published_groups(suite: SuiteConfig) -> dict[str, str]:
    """The suite's groups that ask for published prompts, with the sets."""
    known = published.prompt_sets()
    return {g: size.set for g, size in suite.groups.items() if size.seeds and size.set in known}
