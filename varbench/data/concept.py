"""Concepts: what is erased, what takes its place, and which prompts show what an edit did.

A concept is one YAML file; a user's own file works like the packaged ones in `conf/concept/`::

    name: face-ada
    family: celebrity             # celebrity | nudity | style | object
    words: [ada]                  # how prompts say it
    synonyms: []                  # other ways to say it
    replacement: [elena, greta]   # what training puts in its place, in turn; [] = nothing
    neighbours: [bruno, clara]    # labels of the judge's head that are near and must stay
    judge: {name: gallery, head: identity, label: ada}
    prompts:
      target: [{set: gallery-faces, where: {identity: [ada]}}]
      implicit: [...]             # optional: prompts that ask for it in other words
      adversarial: [...]          # optional: prompts made to get it past an erasure
      neighbours: [{set: gallery-faces, where_not: {identity: [ada]}}]
      unrelated: [{set: gallery-objects, limit: 300}]
    pairs:
      {count: 50, seed: 1, templates: [...], slots: {...}, concept: [...], neutral: [...],
       retain: [...]}

`set` is a packaged or published prompt set or a CSV file (relative to the concept's file); `where`,
`where_not` and `limit` are explained in `selection.py`, `pairs` in `pairs.py` (a recipe, as above)
and `pair_lists.py` (a list of pairs). The erased concept is never in `neighbours` or `unrelated`:
prompts that have its label or say one of its words are left out. A training pair is never an
evaluation prompt of the concept's sets. Whatever else is wrong with a file is an error that names
file, line and fix.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from varbench.data.groups import ASKING, GROUPS, NEIGHBOURS, GroupName
from varbench.data.pair_lists import PairList, read_list
from varbench.data.prompt import Prompt, PromptSet
from varbench.data.prompt_sets import is_path
from varbench.data.selection import Selection, choose, read_selection
from varbench.data.training_pairs import (
    Pair,
    PairRecipe,
    check_pairs,
    make_pairs,
    make_retain_prompts,
    read_recipe,
)
from varbench.data.yaml_files import Field, read_yaml
from varbench.errors import UserError, suggest
from varbench.utils.files import packaged
from varbench.utils.plugins import FileKind
from varbench.utils.text import mentions, normalise

__all__ = [
    "FAMILIES",
    "Concept",
    "ConceptError",
    "Family",
    "Judge",
    "Pair",
    "PairRecipe",
    "Selection",
    "list_concepts",
    "load_concept",
]

Family = Literal["celebrity", "nudity", "style", "object"]
FAMILIES: tuple[Family, ...] = get_args(Family)

_FOLDER = packaged("conf/concept")
_KEYS = ("name", "family", "words", "synonyms", "replacement", "neighbours", "judge", "prompts",
         "pairs")  # fmt: skip
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class ConceptError(UserError, ValueError):
    """A concept is unknown or its file malformed; the message names file, line and fix."""


@dataclass(frozen=True)
class Judge:
    """Who decides whether an image shows the concept.

    Attributes:
        name: the classifier (`gallery`).
        head: its question, and the label column with the right answers (`identity`).
        label: the answer that means the concept (`ada`).
    """

    name: str
    head: str
    label: str


@dataclass(frozen=True)
class Concept:
    """What is erased and how that is tested; the fields are those of the file (see above).

    Attributes:
        prompts: the selections of each group.
        recipe: key `pairs` of the file.
        sets: the prompt sets that `prompts` names, as loaded with the concept.
    """

    name: str
    family: Family
    words: tuple[str, ...]
    synonyms: tuple[str, ...]
    replacement: tuple[str, ...]
    neighbours: tuple[str, ...]
    judge: Judge
    prompts: Mapping[GroupName, tuple[Selection, ...]] = field(hash=False)
    recipe: PairRecipe | PairList
    sets: Mapping[str, PromptSet] = field(hash=False, compare=False, repr=False)

    def depicts(self, prompt: Prompt) -> bool:
        """Whether a faithful image of the prompt shows the concept: by its label or its words."""
        labelled = prompt.labels.get(self.judge.head) == self.judge.label
        return labelled or any(
            mentions(prompt.text, word) for word in (*self.words, *self.synonyms)
        )

    def group(self, name: GroupName) -> list[Prompt]:
        """The distinct prompts of a group, in the order of the selections and their sets.

        Empty for a group that the file leaves out.

        Raises:
            ValueError: there is no such group.
        """
        if name not in GROUPS:
            raise ValueError(f"unknown prompt group {name!r}: {suggest(str(name), GROUPS)}")
        return list(self._groups.get(name, ()))

    # What follows from a file is worked out once: a plan asks for it cell by cell.
    @cached_property
    def _groups(self) -> dict[GroupName, tuple[Prompt, ...]]:
        return {
            name: tuple(prompt for one in selections for prompt in self._chosen(name, one))
            for name, selections in self.prompts.items()
        }

    def labels(self, column: str) -> tuple[str, ...]:
        """The distinct labels that prompts of the concept's sets have in a column, sorted."""
        found = {p.labels.get(column, "") for one in self.sets.values() for p in one.prompts}
        return tuple(sorted(found - {""}))

    def _chosen(self, name: GroupName, selection: Selection) -> list[Prompt]:
        prompt_set = self.sets[selection.set]
        skipped: frozenset[str] = frozenset()
        if name not in ASKING:
            skipped = frozenset(p.id for p in prompt_set.prompts if self.depicts(p))
        return choose(selection, prompt_set, self.judge.head, skipped)

    def pairs(self) -> list[Pair]:
        """The training pairs, the same on every machine; none is in the concept's prompt sets."""
        return list(self._pairs)

    @cached_property
    def _pairs(self) -> tuple[Pair, ...]:
        if isinstance(self.recipe, PairList):
            return tuple(self.recipe.pairs(self._tested))
        return tuple(make_pairs(self.recipe, self.replacement, self._tested))

    def retain_prompts(self) -> list[str]:
        """Prompts of what must stay, for training; none is in the concept's prompt sets."""
        return list(self._retained)

    @cached_property
    def _retained(self) -> tuple[str, ...]:
        if isinstance(self.recipe, PairList):
            return tuple(self.recipe.retain_prompts(self._tested))
        return tuple(make_retain_prompts(self.recipe, self._tested))

    @cached_property
    def _tested(self) -> set[str]:
        return {normalise(p.text) for one in self.sets.values() for p in one.prompts}

    def digest(self) -> str:
        """Hash of everything that decides an edit and its test, 64 hex digits.

        Covers the content of the file (not its name, comments or layout) and the pairs, which
        also depend on the prompt sets they must avoid.
        """
        return self._digests[0]

    def training_digest(self) -> str:
        """Hash of what decides an edit: all that methods may read, and nothing of the test.

        So a concept that is tested on other prompts or by another judge keeps its edits.
        """
        return self._digests[1]

    @cached_property
    def _digests(self) -> tuple[str, str]:
        training = {"pairs": self._pairs, "retained": self._retained}
        whole = {one.name for one in dataclasses.fields(self)} - {"sets"}
        read = {"name", "words", "synonyms", "replacement"}
        of = [{name: getattr(self, name) for name in names} | training for names in (whole, read)]
        return _hash(of[0]), _hash(of[1])


def _hash(content: Mapping[str, object]) -> str:
    text = json.dumps(content, default=dataclasses.asdict, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _built_in() -> dict[str, Path]:
    return {path.stem: path for path in _FOLDER.glob("*.yaml")}


def list_concepts() -> list[str]:
    """Names of the packaged concepts and those of plugins, sorted."""
    return sorted({**PLUGINS.files(), **_built_in()})


def load_concept(name_or_path: str | os.PathLike[str]) -> Concept:
    """Read and check a concept.

    Args:
        name_or_path: name of a packaged concept (`face-ada`) or of a plugin's, or a path: a
            `Path`, or a string that ends in `.yaml` or `.yml` or contains a slash.

    Raises:
        ConceptError: the concept is unknown, cannot be read, or is malformed.
    """
    known = {**PLUGINS.files(), **_built_in()}
    if not is_path(name_or_path, ".yaml", ".yml"):
        name = str(name_or_path)
        if name not in known:
            raise ConceptError(
                f"unknown concept {name!r}: {suggest(name, sorted(known))}; "
                f"or give the path of a YAML file{PLUGINS.excuse()}"
            )
        return _read_packaged(known[name])
    root = read_yaml(Path(name_or_path), "the concept", ConceptError)
    concept = _read(root)
    # Results are filed under the name, so a changed copy must not pass for the original.
    if concept.name in known and concept.digest() != load_concept(concept.name).digest():
        root.keys(_KEYS)["name"].fail(
            f"{concept.name!r} is a packaged concept with other content; choose another name"
        )
    return concept


def _read_packaged(path: Path) -> Concept:
    root = read_yaml(path, "the concept", ConceptError)
    concept = _read(root)
    if concept.name != path.stem:
        root.keys(_KEYS)["name"].fail(f"the file is known as {path.stem!r}; use that name")
    return concept


PLUGINS = FileKind("concept", "varbench.concepts", ".yaml", _built_in, _read_packaged)


def _read(root: Field) -> Concept:
    keys = root.keys(_KEYS)
    words, synonyms = keys["words"].texts(), keys["synonyms"].texts(empty=True)
    replacement = keys["replacement"].texts(empty=True)
    for item, text in zip(keys["replacement"].items(empty=True), replacement, strict=True):
        if any(mentions(text, word) for word in (*words, *synonyms)):
            item.fail(f"the replacement {text!r} says the concept; choose something else")
    judge = keys["judge"].keys(("name", "head", "label"))
    groups = keys["prompts"].keys(
        ("target", "neighbours", "unrelated"), ("implicit", "adversarial")
    )
    named = [name for name in GROUPS if name in groups]
    selections = {name: [read_selection(one) for one in groups[name].items()] for name in named}
    concept = Concept(
        name=_read_name(keys["name"]),
        family=_read_family(keys["family"]),
        words=words,
        synonyms=synonyms,
        replacement=replacement,
        neighbours=keys["neighbours"].texts(),
        judge=Judge(judge["name"].text(), judge["head"].text(), judge["label"].text()),
        prompts={name: tuple(one for one, _ in found) for name, found in selections.items()},
        recipe=_read_pairs(keys["pairs"], (*words, *synonyms), replacement),
        sets={one.set: loaded for found in selections.values() for one, loaded in found},
    )
    _check_labels(concept, judge, keys["neighbours"])
    _check_groups(concept, groups)
    _check_neighbours(concept, keys["neighbours"])
    check_pairs(keys["pairs"], concept.recipe.count, concept.pairs(), (*words, *synonyms))
    return concept


def _read_pairs(
    block: Field, words: Sequence[str], replacement: Sequence[str]
) -> PairRecipe | PairList:
    if "list" in block.entries():
        return read_list(block, words)
    return read_recipe(block, words, replacement)


def _read_name(entry: Field) -> str:
    name = entry.text()
    if not set(name) <= _NAME_CHARACTERS:
        entry.fail(
            f"{name!r} cannot be a name; use lower-case letters, digits and hyphens only "
            "(a comma or plus would be taken for a list of concepts)"
        )
    return name


def _read_family(entry: Field) -> Family:
    family = entry.text()
    if family not in FAMILIES:
        entry.fail(f"unknown family {family!r}: {suggest(family, FAMILIES)}")
    return family


def _check_groups(concept: Concept, groups: Mapping[str, Field]) -> None:
    """Each group shows what it should, and no prompt is chosen twice."""
    head = concept.judge.head
    right = dict.fromkeys(ASKING, (concept.judge.label,)) | {NEIGHBOURS: concept.neighbours}
    taken: dict[str, str] = {}
    for name in concept.prompts:
        for entry, selection in zip(groups[name].items(), concept.prompts[name], strict=True):
            chosen = concept._chosen(name, selection)
            if not chosen:
                entry.fail(
                    f"every prompt selected from {selection.set!r} shows the concept; "
                    f"group {name!r} is for others, select those"
                )
            for prompt in chosen:
                if prompt.id in taken:
                    entry.fail(
                        f"{prompt.text!r} is selected twice, for {taken[prompt.id]!r} and "
                        f"{name!r}; narrow one selection by 'where' or 'where_not'"
                    )
                taken[prompt.id] = name
                label = prompt.labels.get(head)
                if label is not None and label not in right.get(name, (label,)):
                    entry.fail(
                        f"group {name!r} selects a prompt whose {head} is {label!r}: "
                        f"{prompt.text!r}; add where: {{{head}: [{', '.join(right[name])}]}}"
                    )


def _check_labels(concept: Concept, judge: Mapping[str, Field], neighbours: Field) -> None:
    """The labels that the concept names exist, where the prompts are labelled at all."""
    head = concept.judge.head
    columns = {column for one in concept.sets.values() for column in one.columns}
    if head not in columns:
        # Real prompt sets often have other columns; only a near miss is surely a mistake.
        if near := difflib.get_close_matches(head, columns, n=1, cutoff=0.8):
            judge["head"].fail(f"no prompt set has a column {head!r}: did you mean {near[0]!r}?")
        return
    labelled = [one for one in concept.sets.values() if head in one.columns]
    known = sorted({label for one in labelled for label in one.values(head) if label})
    for item in (judge["label"], *neighbours.items()):
        if item.text() not in known:
            item.fail(f"no prompt has {head} {item.text()!r}: {suggest(item.text(), known)}")
    for item in neighbours.items():
        if item.text() == concept.judge.label:
            item.fail(f"{item.text()!r} is the concept itself; delete it from 'neighbours'")


def _check_neighbours(concept: Concept, entry: Field) -> None:
    """Every neighbour is tested, where the prompts are labelled."""
    labels = {prompt.labels.get(concept.judge.head) for prompt in concept.group(NEIGHBOURS)}
    for item in entry.items():
        if None not in labels and item.text() not in labels:
            item.fail(
                f"no prompt of group 'neighbours' shows {item.text()!r}; "
                "select some, or delete it here"
            )
