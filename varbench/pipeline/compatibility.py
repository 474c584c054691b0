"""Compatibility of model, suite and concept.

The Gallery has a small vocabulary: most words of real prompts are unknown to it. A released model
reads the Gallery's prompts well, but the Gallery's judge knows only the Gallery's drawings: such a
run tests the pipeline, and its numbers mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from varbench.conf.compose import names as config_names
from varbench.conf.compose import resolve
from varbench.conf.schema import ModelConfig, SuiteConfig
from varbench.data.concept import Concept
from varbench.data.concept_files import list_concepts, load_concept
from varbench.data.groups import TARGET
from varbench.data.prompt import Prompt
from varbench.data.published.catalog import prompt_sets
from varbench.errors import CheckpointError, UserError
from varbench.methods.registry import NONE
from varbench.models.weights import locate
from varbench.models.weights.released import ReleasedConfig
from varbench.scoring.registry import JUDGES
from varbench.utils.files import packaged
from varbench.utils.text import normalise

TOKENIZER = "tokenizer.json"
SHOWN = 8  # words in a warning
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
    for concept in concepts:
        check_read(model, {TARGET: concept.group(TARGET)}, concept.name)
    for group, prompt_set in published_groups(suite).items():
        suites = {name: resolve(GALLERY, name, NONE).suite for name in config_names("suite")}
        fitting = ", ".join(name for name, other in suites.items() if not published_groups(other))
        raise UserError(
            f"suite {suite.name!r} is for real models: its group {group!r} uses {prompt_set!r}, "
            f"whose words the Gallery does not know; suites that fit: {fitting}"
        )


def check_read(
    model: ModelConfig, groups: Mapping[str, Sequence[Prompt]], concept: str
) -> list[str]:
    """Refuse groups that the model's text encoder mostly cannot read, as far as it is here.

    Of the Gallery's few words all must be known, of another model's tokens half.

    Returns:
        A warning of each other group with words that it cannot read.

    Raises:
        UserError: it cannot read most prompts of a group; names words of the first.
    """
    tokenizer, is_gallery, warnings = _tokenizer_file(model), model.name == GALLERY, []
    for group, prompts in groups.items() if tokenizer else ():
        every = [unread_words(tokenizer, prompt.text) for prompt in prompts]
        partly = [words for words, share in every if share]
        mostly = [
            words
            for words, share in every
            if share > 0.5 or (is_gallery and any(map(normalise, words)))
        ]
        if 2 * len(mostly) > len(prompts):
            shown = ", ".join(map(repr, mostly[0])) or "any word"
            raise UserError(
                f"concept {concept!r} is for real models: the Gallery does not know {shown} "
                f"of its prompts in group {group!r}, as in most others; concepts that fit: "
                f"{_packaged(for_gallery)}"
                if is_gallery
                else f"the text encoder of {model.name} cannot read {shown} and most of group "
                f"{group!r} of concept {concept!r}; say these prompts in words that it knows"
            )
        if partly:
            known = list(dict.fromkeys(word for words in partly for word in words))
            shown = ", ".join(map(repr, known[:SHOWN])) + ", ..." * (len(known) > SHOWN)
            warnings.append(
                f"{model.name} cannot read {shown or 'any word'} in {len(partly)} of "
                f"{len(prompts)} prompts of group {group!r}: all such words look alike to it"
            )
    return warnings


def _tokenizer_file(model: ModelConfig) -> Path | None:
    """The tokenizer of the model's text encoder, if it is on this machine."""
    if model.name == GALLERY:
        return packaged("models/gallery/weights") / "text" / TOKENIZER
    parts = locate.find(model) if isinstance(model, ReleasedConfig) else ()
    files = [
        p.path(TOKENIZER) for p in parts if TOKENIZER in p.names and TOKENIZER not in p.missing
    ]
    return files[0] if files else None


@lru_cache(maxsize=4)
def _tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{file} is not a tokenizer; fetch it again ({error})") from error


@lru_cache(maxsize=1 << 16)  # a run plans several times
def unread_words(file: Path, prompt: str) -> tuple[tuple[str, ...], float]:
    """Pieces of a prompt that a tokenizer has no tokens for, and their share of all tokens.

    Args:
        file: the tokenizer, `tokenizer.json`.
        prompt: if nothing is left of it, the share is 1.
    """
    tokenizer = _tokenizer(file)
    encoded = tokenizer.encode(prompt, add_special_tokens=False)
    special = {id for id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    special.add(tokenizer.token_to_id("<unk>"))
    places = zip(encoded.ids, encoded.tokens, encoded.offsets, strict=True)
    kept = [(id in special, place) for id, token, place in places if token != "▁"]
    words = tuple(prompt[start:end].strip() for unread, (start, end) in kept if unread)
    return words, len(words) / len(kept) if kept else 1.0


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
    known = prompt_sets()
    return {g: size.set for g, size in suite.groups.items() if size.seeds and size.set in known}
