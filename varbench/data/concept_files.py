"""Concept files: one YAML file per concept, read and checked.

A user's own file works like the packaged ones in `conf/concept/`; docs/architecture.md shows one,
`selection.py` explains its `prompts`, `training_pairs.py` its `pairs`. The erased concept is never
in `neighbours` or `unrelated`: prompts that have its label or say one of its words are left out. A
training pair is never an evaluation prompt of the concept's sets. Whatever else is wrong with a
file is an error that names file, line and fix.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from varbench.data.concept import Concept, Family, Judge
from varbench.data.groups import ASKING, GROUPS, NEIGHBOURS
from varbench.data.pair_files import check_pairs, read_pairs
from varbench.data.prompt_sets import is_path
from varbench.data.selection import Selection, load_selected
from varbench.data.yaml_files import (
    AT_LEAST_ONE,
    AnyTexts,
    Document,
    Text,
    Texts,
    read_yaml,
    strict,
)
from varbench.errors import UserError, suggest
from varbench.utils.files import expanded, packaged
from varbench.utils.plugins import FileKind
from varbench.utils.text import mentions

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class ConceptError(UserError, ValueError):
    """A concept is unknown or its file malformed; the message names file, line and fix."""


def _check_name(name: str) -> str:
    if not set(name) <= _NAME_CHARACTERS:
        raise ValueError(
            f"cannot be {name!r}; use lower-case letters, digits and hyphens only "
            "(a comma or plus would be taken for a list of concepts)"
        )
    return name


_Selections = Annotated[tuple[Selection, ...], AT_LEAST_ONE]


@strict
@dataclass(frozen=True)
class _GroupsForm:
    target: _Selections
    neighbours: _Selections
    unrelated: _Selections
    implicit: _Selections = ()
    adversarial: _Selections = ()


@strict
@dataclass(frozen=True)
class _ConceptForm:
    name: Annotated[Text, AfterValidator(_check_name)]
    family: Family
    words: Texts
    synonyms: AnyTexts
    replacement: AnyTexts
    neighbours: Texts
    judge: Judge
    prompts: _GroupsForm
    pairs: Any  # a recipe or a list, read by itself


def list_concepts() -> list[str]:
    """Names of the packaged concepts and those of plugins, sorted."""
    return list(KIND.files())


def load_concept(name_or_path: str | os.PathLike[str]) -> Concept:
    """Read and check a concept.

    Args:
        name_or_path: name of a packaged concept (`face-ada`) or of a plugin's, or a path: a
            `Path`, or a string that ends in `.yaml` or `.yml` or contains a slash.

    Raises:
        ConceptError: the concept is unknown, cannot be read, or is malformed.
    """
    known = KIND.files()
    if not is_path(name_or_path, ".yaml", ".yml"):
        name = str(name_or_path)
        if name not in known:
            raise ConceptError(
                f"unknown concept {name!r}: {suggest(name, known)}; "
                f"or give the path of a YAML file{KIND.excuse()}"
            )
        return _read_packaged(known[name])
    document = read_yaml(expanded(name_or_path), "the concept", ConceptError)
    concept = _read(document)
    # Results are filed under the name, so a changed copy must not pass for the original.
    if concept.name in known and concept.digest() != load_concept(concept.name).digest():
        problem = f"{concept.name!r} is a packaged concept with other content; choose another name"
        document.fail(problem, "name")
    return concept


def _read_packaged(path: Path) -> Concept:
    document = read_yaml(path, "the concept", ConceptError)
    concept = _read(document)
    if concept.name != path.stem:
        document.fail(f"the file is known as {path.stem!r}; use that name", "name")
    return concept


KIND = FileKind("concept", "varbench.concepts", packaged("conf/concept"), ".yaml", _read_packaged)


def _read(document: Document) -> Concept:
    form = document.read(_ConceptForm)
    says = (*form.words, *form.synonyms)
    for index, text in enumerate(form.replacement):
        if any(mentions(text, word) for word in says):
            problem = f"the replacement {text!r} says the concept; choose something else"
            document.fail(problem, "replacement", index)
    prompts = {name: chosen for name in GROUPS if (chosen := getattr(form.prompts, name))}
    sets = {
        selection.set: load_selected(document, selection, "prompts", name, index)
        for name, selections in prompts.items()
        for index, selection in enumerate(selections)
    }
    recipe = read_pairs(document, form.pairs, says, form.replacement)
    stated = {name: value for name, value in vars(form).items() if name not in ("prompts", "pairs")}
    concept = Concept(**stated, prompts=prompts, recipe=recipe, sets=sets)
    _check_labels(document, concept)
    _check_groups(document, concept)
    check_pairs(document, concept.recipe.count, concept.pairs(), says)
    return concept


def _check_groups(document: Document, concept: Concept) -> None:
    """Each group shows what it should, and no prompt is chosen twice."""
    head = concept.judge.head
    right = dict.fromkeys(ASKING, (concept.judge.label,)) | {NEIGHBOURS: concept.neighbours}
    group_of: dict[str, str] = {}
    for name, selections in concept.prompts.items():
        for index, selection in enumerate(selections):
            at = ("prompts", name, index)
            prompts = concept.choose(name, selection)
            if not prompts:
                document.fail(
                    f"every prompt selected from {selection.set!r} shows the concept; "
                    f"group {name!r} is for others, select those",
                    *at,
                )
            for prompt in prompts:
                if prompt.id in group_of:
                    document.fail(
                        f"{prompt.text!r} is selected twice, for {group_of[prompt.id]!r} and "
                        f"{name!r}; narrow one selection by 'where' or 'where_not'",
                        *at,
                    )
                group_of[prompt.id] = name
                label = prompt.labels.get(head)
                if label is not None and label not in right.get(name, (label,)):
                    document.fail(
                        f"group {name!r} selects a prompt whose {head} is {label!r}: "
                        f"{prompt.text!r}; add where: {{{head}: [{', '.join(right[name])}]}}",
                        *at,
                    )


def _check_labels(document: Document, concept: Concept) -> None:
    """The labels that the concept names exist and are tested, where prompts are labelled at all."""
    head, label = concept.judge.head, concept.judge.label
    columns = {column for prompt_set in concept.sets.values() for column in prompt_set.columns}
    if head not in columns:
        # Real prompt sets often have other columns; only a near miss is surely a mistake.
        if near := difflib.get_close_matches(head, columns, n=1, cutoff=0.8):
            problem = f"no prompt set has a column {head!r}: did you mean {near[0]!r}?"
            document.fail(problem, "judge", "head")
        return
    known = concept.labels(head)
    if label not in known:
        problem = f"no prompt has {head} {label!r}: {suggest(label, known)}"
        document.fail(problem, "judge", "label")
    shown = {prompt.labels.get(head) for prompt in concept.group(NEIGHBOURS)}
    for index, name in enumerate(concept.neighbours):
        problem = ""
        if name not in known:
            problem = f"no prompt has {head} {name!r}: {suggest(name, known)}"
        elif name == label:
            problem = f"{name!r} is the concept itself; delete it from 'neighbours'"
        elif None not in shown and name not in shown:
            problem = (
                f"no prompt of group 'neighbours' shows {name!r}; select some, or delete it here"
            )
        if problem:
            document.fail(problem, "neighbours", index)
