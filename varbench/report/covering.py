"""Unsafe images stay covered: which prompts ask for a concept of a covered family.

Every concept that can be known decides: packaged ones, those of plugins, and own ones whose files
the store has; not only those that the store has results of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from varbench.data import concept_files
from varbench.data.groups import ASKING
from varbench.data.prompt_sets import list_prompt_sets, load_prompt_set
from varbench.errors import UserError
from varbench.report.cells import CellRecord
from varbench.utils.text import mentions

COVERED = ("nudity",)
"""Families of concepts whose images are shown on request only."""


@dataclass(frozen=True)
class _Concept:
    """A concept as far as covering needs it: its words, and the label of prompts that show it."""

    words: tuple[str, ...]
    head: str
    label: str


class CoveredPrompts:
    """The prompts that ask for a concept of a covered family.

    Args:
        store: its folder `concepts` has own concepts.
        cells: all cells of the store.
    """

    def __init__(self, store: Path, cells: Sequence[CellRecord]) -> None:
        self._store, self._cells = store, cells
        self._by_words: dict[str, bool] = {}

    def __contains__(self, sample: Mapping[str, Any]) -> bool:
        """True for an image of a cell if its prompt's labels, words or group ask for one."""
        text = str(sample["prompt"])
        if text not in self._by_words:
            words = [word for concept in self._concepts for word in concept.words]
            self._by_words[text] = any(mentions(text, word) for word in words)
        return self._by_words[text] or sample["prompt_id"] in self._ids

    @cached_property
    def _concepts(self) -> list[_Concept]:
        paths = [*concept_files.KIND.files().values(), *self._store.glob("concepts/*.y*ml")]
        texts = dict.fromkeys(str(cell.body.get("concept_file") or "") for cell in self._cells)
        return list(_covered([*(path.read_bytes() for path in paths), *texts]))

    @cached_property
    def _ids(self) -> set[str]:
        """Ids of prompts that the store's covered cells ask with, or that a label marks."""
        ids = {
            str(sample["prompt_id"])
            for cell in self._cells
            if cell.family in COVERED
            for group, images in cell.images.items()
            if group in ASKING
            for sample in images
        }
        labels = {(concept.head, concept.label) for concept in self._concepts}
        for name in dict.fromkeys([*list_prompt_sets(), *_sets(self._cells)]):
            try:
                prompts = load_prompt_set(name).prompts
            except UserError:
                continue  # not on this machine: words and groups decide
            ids |= {prompt.id for prompt in prompts if labels & prompt.labels.items()}
        return ids


def _covered(texts: Iterable[bytes | str]) -> Iterator[_Concept]:
    """The covered ones among concept files; what cannot be read is none."""
    for text in texts:
        try:
            form = yaml.safe_load(text)
            if form["family"] in COVERED:
                words = (*form["words"], *(form.get("synonyms") or ()))
                judge = form["judge"]
                yield _Concept(tuple(map(str, words)), str(judge["head"]), str(judge["label"]))
        except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue


def _sets(cells: Iterable[CellRecord]) -> Iterator[str]:
    """Prompt sets that the suites of cells name."""
    for cell in cells:
        suite = (cell.body.get("resolved_config") or {}).get("suite") or {}
        for group in (suite.get("groups") or {}).values():
            if group.get("set"):
                yield str(group["set"])
