"""Prompts and their neutral twins, token by token: the text rows that replace each other.

Closed-form edits (UCE, RECE) change these rows, FMN takes attention off them. A T5 reads in both
directions, so every row of a prompt that says the concept depends on it, words before it and the
end-of-text token included: all of them are contexts to erase, each with the row of the neutral
prompt that replaces it.

Weights: a prompt's rows share its weight equally, the prompts of a set share the weight 1.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import torch
from torch import Tensor

from varbench.data.concept import EraseTarget
from varbench.models.capabilities import HasTextSpaces, TextSpace, require
from varbench.models.protocol import CapabilityError, Condition, NextScaleModel


def align(concept: Sequence[str], neutral: Sequence[str]) -> list[int | None]:
    """Numbers of the neutral counterparts of the tokens of a prompt with the concept.

    Runs of equal tokens correspond. Of a run that was replaced, the last token gets the last
    token of the replacement and so on backwards; surplus tokens get the replacement's last token,
    which says what kind of thing it is. Tokens of a run that nothing replaces get None.

    Args:
        concept: tokens of the prompt that says the concept, the end-of-text token included.
        neutral: tokens of its twin, likewise.
    """
    counterparts: list[int | None] = []
    for _, first, last, start, end in _runs(concept, neutral):
        neutral_run = list(range(start, end))
        spare = neutral_run[-1] if neutral_run else None
        padded = [spare] * (last - first - len(neutral_run)) + neutral_run
        counterparts += padded[len(padded) - (last - first) :]
    return counterparts


def concept_tokens(concept: Sequence[str], neutral: Sequence[str]) -> list[int]:
    """Numbers of the tokens that the prompt has and its neutral twin lacks."""
    changed = [run for run in _runs(concept, neutral) if run[0] in ("replace", "delete")]
    return [number for _, first, last, _, _ in changed for number in range(first, last)]


def _runs(
    concept: Sequence[str], neutral: Sequence[str]
) -> Sequence[tuple[str, int, int, int, int]]:
    return SequenceMatcher(None, concept, neutral, autojunk=False).get_opcodes()


@dataclass(frozen=True)
class Contexts:
    """Text rows and the targets that linear maps should read instead; all float64 on the host.

    Attributes:
        rows: ``[N, C]``.
        targets: ``[N, C]``; the rows themselves where nothing may change.
        weights: ``[N]``, of the squared errors.
    """

    rows: Tensor
    targets: Tensor
    weights: Tensor

    def scaled(self, factor: float) -> Contexts:
        """All weights times a factor."""
        return Contexts(self.rows, self.targets, factor * self.weights)

    def unchanged(self) -> Contexts:
        """The same rows, none of which may change."""
        return Contexts(self.rows, self.rows, self.weights)

    def joined(self, others: Contexts) -> Contexts:
        """Both sets as one."""
        return Contexts(
            torch.cat([self.rows, others.rows]),
            torch.cat([self.targets, others.targets]),
            torch.cat([self.weights, others.weights]),
        )


@dataclass(frozen=True)
class Problem:
    """The task of a closed-form edit in one text space.

    Attributes:
        readers: state-dict names of the matrices ``[*, C]`` to edit.
        erased: rows of the prompts with the concept, with their neutral counterparts.
        kept: rows that must be read as before.
    """

    readers: tuple[str, ...]
    erased: Contexts
    kept: Contexts


def problems(
    model: NextScaleModel, concept: EraseTarget, spaces: Collection[str], method: str
) -> dict[str, Problem]:
    """The contexts of a concept's training pairs, by text space.

    Kept are the concept's retained prompts, the neutral sides of its pairs, the empty prompt, and
    the null condition of each of these.

    Args:
        model: unedited.
        concept: its pairs and retained prompts.
        spaces: names of spaces of :class:`HasTextSpaces`.
        method: name of the method, for errors.

    Raises:
        CapabilityError: the model lacks text spaces, or these ones.
    """
    texts = require(model, HasTextSpaces, method)
    pairs = concept.pairs()
    concepts, neutrals = [p.concept for p in pairs], [p.neutral for p in pairs]
    tokens = zip(texts.text_tokens(concepts), texts.text_tokens(neutrals), strict=True)
    places = [align(a, b) for a, b in tokens]
    kept_text = model.encode(list(dict.fromkeys([*concept.retain_prompts(), *neutrals, ""])))
    with_concept = texts.text_spaces(model.encode(concepts))
    without = texts.text_spaces(model.encode(neutrals))
    prompts, null = texts.text_spaces(kept_text), texts.text_spaces(model.null(kept_text))
    if absent := sorted(set(spaces) - set(with_concept)):
        raise CapabilityError(
            f"{method} edits what reads {', '.join(absent)}, which {model.name} does not have; "
            f"it has {', '.join(with_concept)}"
        )
    tasks = {}
    for name in spaces:
        rows, others = _by_prompt(with_concept[name]), _by_prompt(without[name])
        targets = [counterparts(other, place) for other, place in zip(others, places, strict=True)]
        kept = [*_by_prompt(prompts[name]), *_by_prompt(null[name])]
        tasks[name] = Problem(
            with_concept[name].readers, _contexts(rows, targets), _contexts(kept, kept)
        )
    return tasks


def counterparts(rows: Tensor, places: Sequence[int | None]) -> Tensor:
    """The neutral prompt's rows ``[n, C]`` in the order of :func:`align`.

    Rows without a counterpart get the mean row: a linear map cannot remove a row, and the mean
    draws attention to no word more than before. (The end-of-text row, which an empty anchor would
    have in UCE, draws a pooling query to that token.)
    """
    mean = rows.mean(dim=0)
    return torch.stack([mean if place is None else rows[place] for place in places])


def _by_prompt(space: TextSpace) -> list[Tensor]:
    """The real rows ``[n, C]`` of every prompt."""
    real = space.rows.detach()[space.mask].cpu().double()
    return list(real.split(space.mask.sum(dim=1).tolist()))


def _contexts(rows: Sequence[Tensor], targets: Sequence[Tensor]) -> Contexts:
    weights = [torch.full((len(r),), 1 / (len(r) * len(rows)), dtype=torch.float64) for r in rows]
    return Contexts(torch.cat(list(rows)), torch.cat(list(targets)), torch.cat(weights))


def concept_prompt(concept: EraseTarget) -> str:
    """All words and synonyms, separated by commas."""
    return ", ".join([*concept.words, *concept.synonyms])


def concept_condition(model: NextScaleModel, concept: EraseTarget, prompt: str) -> Condition:
    """The condition of one prompt: the given one, or if it is empty the concept's own."""
    return model.encode([prompt or concept_prompt(concept)])
