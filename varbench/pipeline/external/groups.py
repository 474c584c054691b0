"""Prompt groups of external images, and the base model's image that each is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from varbench.conf.schema import SuiteConfig
from varbench.data.concept import Concept
from varbench.data.groups import ASKING, GROUPS, TARGET, UNRELATED, GroupName
from varbench.data.prompt import Prompt, prompt_id
from varbench.data.prompt_sets import load_prompt_set
from varbench.errors import UserError, suggest
from varbench.metrics.groups import Key
from varbench.pipeline.external.manifest import ManifestRow
from varbench.pipeline.plan import Sample

Assigned = dict[str, list[tuple[Sample, ManifestRow]]]
"""By prompt group, samples and what a manifest says of their images."""


def assign_groups(
    concept: Concept,
    suite: SuiteConfig,
    rows: Iterable[ManifestRow],
    required: Mapping[str, list[Sample]] | None,
) -> Assigned:
    """Samples of each group with their rows; all seeds of a prompt side by side.

    The manifest names the group of an image, or its prompt decides: a prompt of the concept's sets
    goes where the concept has it, any other to ``target`` if it shows the concept, else to
    ``unrelated``.

    Args:
        concept: the concept under test.
        suite: may name groups with prompt sets of their own.
        rows: of a manifest.
        required: samples of each group that must be there, no more and no fewer, in this order;
            None accepts whatever the manifest has.

    Raises:
        UserError: an image appears twice, belongs to an impossible group, is missing or
            surplus, or is labelled otherwise than the concept's sets have its prompt.
    """
    extra = {name: load_prompt_set(size.set) for name, size in suite.groups.items() if size.set}
    valid = tuple(dict.fromkeys([*GROUPS, *extra]))
    sets = [*concept.sets.values(), *extra.values()]
    known = {p.id: p for prompt_set in reversed(sets) for p in prompt_set.prompts}
    group_of: dict[str, str] = {}
    for name in valid:
        listed = extra[name].prompts if name in extra else concept.group(cast(GroupName, name))
        for prompt in listed:
            group_of.setdefault(prompt.id, name)
    groups: dict[str, dict[Key, tuple[Sample, ManifestRow]]] = {}
    for row in rows:
        id = prompt_id(row.prompt)
        prompt = known.get(id) or Prompt(row.prompt, id, dict(row.labels))
        _check_known(row, prompt)
        depicted = concept.depicts(prompt)
        group = row.group or group_of.get(id) or (TARGET if depicted else UNRELATED)
        _check_group(row, group, valid, depicted)
        sample = Sample(prompt, row.seed)
        _, first = groups.setdefault(group, {}).setdefault(sample.key, (sample, row))
        if first is not row:
            raise _twice(row, first)
    if required is not None:
        _check_complete(groups, required)
        return {g: [groups[g][s.key] for s in samples] for g, samples in required.items()}
    ordered: Assigned = {}
    for group in (name for name in valid if name in groups):
        first_of = {id: i for i, id in enumerate(dict.fromkeys(id for id, _ in groups[group]))}
        keys = sorted(groups[group], key=lambda key: (first_of[key[0]], key[1]))
        ordered[group] = [groups[group][key] for key in keys]
    return ordered


def check_labels(rows: Iterable[ManifestRow]) -> None:
    """Refuse rows, of one manifest or several, that label one prompt in two ways.

    Raises:
        UserError: names both rows.
    """
    first: dict[tuple[str, str], ManifestRow] = {}
    for row in rows:
        for column, label in row.labels.items():
            other = first.setdefault((prompt_id(row.prompt), column), row)
            if other.labels[column] != label:
                raise UserError(
                    f"{row.location}: {column} of {row.prompt!r} is {label!r}, but "
                    f"{other.labels[column]!r} in {other.location}; a prompt has one label, the "
                    "same in all its rows: mend one of them, or delete the column"
                )


def _check_known(row: ManifestRow, prompt: Prompt) -> None:
    for column, label in row.labels.items():
        if label and prompt.labels.get(column, label) != label:
            raise UserError(
                f"{row.location}: {column} of {row.prompt!r} is {label!r}, but "
                f"{prompt.labels[column]!r} in the prompt set that has it; mend the row, or delete "
                "the column"
            )


def _check_group(row: ManifestRow, group: str, valid: Sequence[str], depicted: bool) -> None:
    if group not in valid:
        raise UserError(f"{row.location}: unknown group {group!r}: {suggest(group, valid)}")
    if depicted and group not in ASKING:
        raise UserError(
            f"{row.location}: {row.prompt!r} shows the concept, and group {group!r} is for "
            "prompts that do not; put it into target, or delete the row"
        )


def _twice(row: ManifestRow, first: ManifestRow) -> UserError:
    return UserError(
        f"{row.location}: prompt and seed are those of {first.location}; "
        "number the images of a prompt"
    )


def _check_complete(
    groups: Mapping[str, Mapping[Key, tuple[Sample, ManifestRow]]],
    required: Mapping[str, Sequence[Sample]],
) -> None:
    for group, samples in required.items():
        missing = [s for s in samples if s.key not in groups.get(group, {})]
        if missing:
            first = missing[0]
            raise UserError(
                f"the suite asks for {len(samples)} images of group {group!r} and the list lacks "
                f"{len(missing)}, the first of {first.prompt.text!r} with seed {first.seed}; make "
                "them (--wanted writes the suite's list), or drop --suite"
            )
    for group, images in groups.items():
        keys = {sample.key for sample in required.get(group, ())}
        for key, (_, row) in images.items():
            if key not in keys:
                raise UserError(
                    f"{row.location}: the suite does not ask for {row.prompt!r} with seed "
                    f"{row.seed} in group {group!r}; delete the row, or drop --suite"
                )


def match_base(assigned: Assigned, rows: Sequence[ManifestRow], against: Path) -> Assigned:
    """The same samples with the base model's images: of the same group, or else of any.

    Raises:
        UserError: there is none, or two for one prompt and seed.
    """
    by_group: dict[tuple[str, Key], ManifestRow] = {}
    for row in rows:
        key = (prompt_id(row.prompt), row.seed)
        first = by_group.setdefault((row.group, key), row)
        if first is not row:
            raise _twice(row, first)
        by_group.setdefault(("", key), row)
    matched: Assigned = {group: [] for group in assigned}
    missing: list[Sample] = []
    for group, sample in ((g, s) for g, images in assigned.items() for s, _ in images):
        if base := by_group.get((group, sample.key)) or by_group.get(("", sample.key)):
            matched[group].append((sample, base))
        else:
            missing.append(sample)
    if missing:
        raise UserError(
            f"{against} lacks {len(missing)} images that would be compared, the first of "
            f"{missing[0].prompt.text!r} with seed {missing[0].seed}; make them with the base model"
        )
    return matched
