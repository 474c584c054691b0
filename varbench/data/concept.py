"""Concepts: what is erased, what takes its place, and which prompts show what an edit did.

The target of an edit is one concept or several at once, with all their training pairs or some.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, zip_longest
from typing import Any, Literal, TypeVar, get_args

from varbench.data.groups import ASKING, GROUPS, GroupName
from varbench.data.prompt import Prompt, PromptSet
from varbench.data.selection import Selection, choose
from varbench.data.training_pairs import Pair, PairList, PairRecipe
from varbench.data.yaml_files import Text, strict
from varbench.errors import suggest
from varbench.utils.text import mentions, normalise

Family = Literal["celebrity", "nudity", "style", "object"]
FAMILIES: tuple[Family, ...] = get_args(Family)
T = TypeVar("T")
JOIN = "+"
"""Between the names of concepts that are erased together, as in ``face-ada+church``."""


@strict
@dataclass(frozen=True)
class Judge:
    """The classifier that decides if an image shows the concept.

    Attributes:
        name: the classifier (`gallery`).
        head: its question, and the label column with the right answers (`identity`).
        label: the answer that means the concept (`ada`).
    """

    name: Text
    head: Text
    label: Text


@dataclass(frozen=True)
class Concept:
    """A concept to erase, and its test; the fields are those of its file (`concept_files.py`).

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
        """True if a faithful image of the prompt shows the concept, by its label or its words."""
        return prompt.labels.get(self.judge.head) == self.judge.label or self.says(prompt.text)

    def says(self, text: str) -> bool:
        """True if a text has one of the concept's words or synonyms."""
        return any(mentions(text, word) for word in (*self.words, *self.synonyms))

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
            name: tuple(chain.from_iterable(self.choose(name, each) for each in selections))
            for name, selections in self.prompts.items()
        }

    def choose(self, name: GroupName, selection: Selection) -> list[Prompt]:
        """The prompts of one selection of a group; kept groups never show the concept."""
        prompt_set = self.sets[selection.set]
        skipped: frozenset[str] = frozenset()
        if name not in ASKING:
            skipped = frozenset(p.id for p in prompt_set.prompts if self.depicts(p))
        return choose(selection, prompt_set, self.judge.head, skipped)

    def labels(self, column: str) -> tuple[str, ...]:
        """The distinct labels that prompts of the concept's sets have in a column, sorted."""
        labels = {p.labels.get(column, "") for each in self.sets.values() for p in each.prompts}
        return tuple(sorted(labels - {""}))

    def pairs(self) -> list[Pair]:
        """The training pairs, the same on every machine; none is in the concept's prompt sets."""
        return list(self._training["pairs"])

    def retain_prompts(self) -> list[str]:
        """Prompts of what must stay, for training; none is in the concept's prompt sets."""
        return list(self._training["retained"])

    @cached_property
    def _training(self) -> dict[str, list[Any]]:
        tested = {normalise(p.text) for each in self.sets.values() for p in each.prompts}
        return {
            "pairs": self.recipe.pairs(tested, self.replacement),
            "retained": self.recipe.retain_prompts(tested),
        }

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
        tested = {field.name for field in dataclasses.fields(self)} - {"sets"}
        trained = {"name", "words", "synonyms", "replacement"}
        contents = [{key: getattr(self, key) for key in keys} for keys in (tested, trained)]
        return _hash(contents[0] | self._training), _hash(contents[1] | self._training)


def _hash(content: Mapping[str, object]) -> str:
    text = json.dumps(content, default=dataclasses.asdict, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class EraseTarget:
    """The concepts of one edit, as methods see them.

    Attributes:
        concepts: at least one.
        limit: training pairs used of each concept, the first ones; 0 = all.

    Raises:
        ValueError: no concept, or one of them twice.
    """

    concepts: tuple[Concept, ...]
    limit: int = 0

    def __post_init__(self) -> None:
        names = [concept.name for concept in self.concepts]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"needs distinct concepts, got {names}")

    @property
    def name(self) -> str:
        """The names, joined by a plus."""
        return JOIN.join(concept.name for concept in self.concepts)

    @property
    def words(self) -> tuple[str, ...]:
        """Words by which prompts say any of the concepts."""
        return self._texts("words")

    @property
    def synonyms(self) -> tuple[str, ...]:
        """Other ways to say them."""
        return self._texts("synonyms")

    @property
    def replacement(self) -> tuple[str, ...]:
        """Words that take their places."""
        return self._texts("replacement")

    def _texts(self, key: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(chain.from_iterable(getattr(c, key) for c in self.concepts)))

    def pairs(self) -> list[Pair]:
        """The training pairs, taken from the concepts in turn; no neutral side says one of them."""
        each = [[p for p in c.pairs() if not self._says(p.neutral)] for c in self.concepts]
        return _in_turn([pairs[: self.limit or None] for pairs in each])

    def retain_prompts(self) -> list[str]:
        """Prompts of what must stay, taken from the concepts in turn; none says an erased one."""
        texts = _in_turn([concept.retain_prompts() for concept in self.concepts])
        return [text for text in dict.fromkeys(texts) if not self._says(text)]

    def _says(self, text: str) -> bool:
        return any(concept.says(text) for concept in self.concepts)

    def depicts(self, prompt: Prompt) -> bool:
        """True if a faithful image of the prompt shows any of the concepts."""
        return any(concept.depicts(prompt) for concept in self.concepts)

    def digest(self) -> str:
        """Hash of everything that decides an edit, 64 hex digits; a whole concept's is its own."""
        if len(self.concepts) == 1 and not self.limit:
            return self.concepts[0].training_digest()
        parts = [*(concept.training_digest() for concept in self.concepts), f"pairs {self.limit}"]
        return hashlib.sha256("/".join(parts).encode()).hexdigest()


def _in_turn(lists: Sequence[Sequence[T]]) -> list[T]:
    turns = chain.from_iterable(zip_longest(*lists))
    return [item for item in turns if item is not None]
