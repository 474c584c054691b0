"""Selections of prompts of one set: filters on labels, balanced subsets, the tune/test split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Annotated

from varbench.data.prompt import Prompt, PromptSet, PromptSetError
from varbench.data.prompt_sets import is_path, load_prompt_set
from varbench.data.yaml_files import Document, Labels, Text, strict, whole
from varbench.errors import suggest
from varbench.utils.files import expanded


@strict
@dataclass(frozen=True)
class Selection:
    """Some prompts of one prompt set.

    Attributes:
        set: the set as the concept file names it.
        where: per label column, the labels a prompt may have; a prompt must match every column.
        where_not: per label column, labels a prompt must not have.
        limit: how many prompts at most; None takes all.
    """

    set: Text
    where: Mapping[str, Labels] = field(default_factory=dict, hash=False)
    where_not: Mapping[str, Labels] = field(default_factory=dict, hash=False)
    limit: Annotated[int, whole(1, 10**6)] | None = None

    def matches(self, prompt: Prompt) -> bool:
        """True if the filters let the prompt through (the limit aside)."""
        labels = prompt.labels
        return all(labels[c] in allowed for c, allowed in self.where.items()) and not any(
            labels[c] in banned for c, banned in self.where_not.items()
        )


def _varying_column(prompts: Sequence[Prompt], head: str) -> str | None:
    """The column to balance over: the judge's head, or else the first whose labels differ."""
    first = prompts[0]
    columns: Iterable[str] = first.labels if first.strata is None else first.strata
    for column in (head, *columns):
        if len({prompt.labels.get(column) for prompt in prompts}) > 1:
            return column
    return None


def stratified_subset(prompts: Sequence[Prompt], limit: int | None, head: str) -> list[Prompt]:
    """At most `limit` prompts, balanced over labels; the order stays.

    Labels of `head` (or, if all prompts have the same, of the first column that differs) take
    turns. Within a label the hash of the prompt's id decides, so the choice needs no seed, and
    prompts added to a set later displace few of those chosen before.
    """
    if limit is None or len(prompts) <= limit:
        return list(prompts)
    column = _varying_column(prompts, head)
    strata: dict[str, list[str]] = {}
    for prompt in prompts:
        strata.setdefault(prompt.labels.get(column, "") if column else "", []).append(prompt.id)
    for ids in strata.values():
        ids.sort(key=lambda id: hashlib.sha256(id.encode()).digest())
    turns = chain.from_iterable(zip_longest(*(strata[label] for label in sorted(strata))))
    chosen = set([id for id in turns if id is not None][:limit])
    return [prompt for prompt in prompts if prompt.id in chosen]


def split_of(prompt_id: str) -> str:
    """The split of a prompt, by its id alone: one in five is for tuning, the others for tests.

    Settings of a method may be chosen on the ``tune`` split of a concept's prompts; results are
    reported on the ``test`` split, which no choice has seen.
    """
    first = hashlib.sha256(f"split/{prompt_id}".encode()).digest()[0]
    return "tune" if first < 51 else "test"


def choose(
    selection: Selection, prompt_set: PromptSet, head: str, skipped: frozenset[str] = frozenset()
) -> list[Prompt]:
    """The prompts of a selection, in the order of the set.

    Args:
        selection: what to take.
        prompt_set: the set it names.
        head: label column of the judge, to balance a limit over.
        skipped: ids of prompts never to take; they do not count towards the limit.
    """
    matching = [p for p in prompt_set.prompts if selection.matches(p) and p.id not in skipped]
    return stratified_subset(matching, selection.limit, head)


def load_selected(document: Document, selection: Selection, *at: str | int) -> PromptSet:
    """The set that a selection of a YAML file names, after the selection was checked against it.

    Args:
        document: the file; paths of sets are relative to it.
        selection: as read from it.
        at: where in the document the selection stands.
    """
    name = selection.set
    source: str | Path = document.path.parent / expanded(name) if is_path(name, ".csv") else name
    try:
        prompt_set = load_prompt_set(source)
    except PromptSetError as error:
        document.fail(str(error), *at, "set")
    for key in ("where", "where_not"):
        for column, labels in getattr(selection, key).items():
            _check_filter(document, prompt_set, labels, *at, key, column)
    if not any(map(selection.matches, prompt_set.prompts)):
        document.fail(f"no prompt of {name!r} passes these filters; drop one of them", *at)
    return prompt_set


def _check_filter(
    document: Document, prompt_set: PromptSet, labels: Sequence[str], *at: str | int
) -> None:
    column = str(at[-1])
    if column not in prompt_set.columns:
        document.fail(
            f"prompt set {prompt_set.name!r} has no column {column!r}: "
            f"{suggest(column, prompt_set.columns)}",
            *at,
        )
    known = prompt_set.values(column)
    for index, label in enumerate(labels):
        if label not in known:
            document.fail(
                f"no prompt of {prompt_set.name!r} has {column} {label!r}: "
                f"{suggest(label, filter(None, known))}",
                *at,
                index,
            )
