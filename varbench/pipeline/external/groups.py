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
from varbench.errors import suggest
from varbench.metrics.groups import Key
from varbench.pipeline.external.manifest import ManifestError, ManifestRow
from varbench.pipeline.plan import Sample

Assigned = dict[Key, tuple[Sample, ManifestRow]]


class GroupAssigner:
    """Assigns the images of a manifest to prompt groups.

    The manifest names the group of an image, or its prompt decides: a prompt of the concept's sets
    goes where the concept has it, any other to ``target`` if it shows the concept, else to
    ``unrelated``.

    Args:
        concept: the concept under test.
        suite: may name groups with prompt sets of their own.
    """

    def __init__(self, concept: Concept, suite: SuiteConfig) -> None:
        self.concept = concept
        extra = {name: load_prompt_set(size.set) for name, size in suite.groups.items() if size.set}
        self.valid = (*GROUPS, *(name for name in extra if name not in GROUPS))
        sets = [*concept.sets.values(), *extra.values()]
        self.known = {p.id: p for prompt_set in reversed(sets) for p in prompt_set.prompts}
        self.group_of: dict[str, str] = {}
        for name in self.valid:
            listed = extra[name].prompts if name in extra else concept.group(cast(GroupName, name))
            for prompt in listed:
                self.group_of.setdefault(prompt.id, name)

    def assign(
        self, rows: Iterable[ManifestRow], required: Mapping[str, list[Sample]] | None
    ) -> dict[str, list[tuple[Sample, ManifestRow]]]:
        """Samples of each group with their rows; all seeds of a prompt side by side.

        Args:
            rows: of a manifest.
            required: samples of each group that must be there, no more and no fewer, in this order;
                None accepts whatever the manifest has.

        Raises:
            ManifestError: an image appears twice, belongs to an impossible group, is missing or
                surplus.
        """
        groups: dict[str, Assigned] = {}
        for row in rows:
            prompt, group = self._prompt_and_group(row)
            images, key = groups.setdefault(group, {}), (prompt.id, row.seed)
            if key in images:
                raise _twice(row, images[key][1])
            images[key] = (Sample(prompt, row.seed), row)
        if required is not None:
            _check_complete(groups, required)
            return {g: [groups[g][s.key] for s in samples] for g, samples in required.items()}
        ordered = {}
        for group in (name for name in self.valid if name in groups):
            first = {id: i for i, id in enumerate(dict.fromkeys(id for id, _ in groups[group]))}
            keys = sorted(groups[group], key=lambda key: (first[key[0]], key[1]))
            ordered[group] = [groups[group][key] for key in keys]
        return ordered

    def _prompt_and_group(self, row: ManifestRow) -> tuple[Prompt, str]:
        id = prompt_id(row.prompt)
        prompt = self.known.get(id) or Prompt(row.prompt, id, dict(row.labels))
        depicted = self.concept.depicts(prompt)
        group = row.group or self.group_of.get(id) or (TARGET if depicted else UNRELATED)
        if group not in self.valid:
            choices = suggest(group, self.valid)
            raise ManifestError(f"{row.location}: unknown group {group!r}: {choices}")
        if depicted and group not in ASKING:
            raise ManifestError(
                f"{row.location}: {row.prompt!r} shows the concept, and group {group!r} is for "
                "prompts that do not; put it into target, or delete the row"
            )
        return prompt, group


def _twice(row: ManifestRow, first: ManifestRow) -> ManifestError:
    return ManifestError(
        f"{row.location}: prompt and seed are those of {first.location}; "
        "number the images of a prompt"
    )


def _check_complete(
    groups: Mapping[str, Assigned], required: Mapping[str, Sequence[Sample]]
) -> None:
    for group, samples in required.items():
        missing = [s for s in samples if s.key not in groups.get(group, {})]
        if missing:
            first = missing[0]
            raise ManifestError(
                f"the suite asks for {len(samples)} images of group {group!r} and the list lacks "
                f"{len(missing)}, the first of {first.prompt.text!r} with seed {first.seed}; make "
                "them (--wanted writes the suite's list), or drop --suite"
            )
    for group, images in groups.items():
        keys = {sample.key for sample in required.get(group, ())}
        for key, (_, row) in images.items():
            if key not in keys:
                raise ManifestError(
                    f"{row.location}: the suite does not ask for {row.prompt!r} with seed "
                    f"{row.seed} in group {group!r}; delete the row, or drop --suite"
                )


def match_base(
    samples: Mapping[str, Sequence[Sample]], rows: Sequence[ManifestRow], against: Path
) -> dict[str, list[ManifestRow]]:
    """The base model's image of every sample: of the same group, or else of any.

    Raises:
        ManifestError: there is none, or two for one prompt and seed.
    """
    by_group: dict[tuple[str, Key], ManifestRow] = {}
    for row in rows:
        key = (prompt_id(row.prompt), row.seed)
        first = by_group.setdefault((row.group, key), row)
        if first is not row:
            raise _twice(row, first)
        by_group.setdefault(("", key), row)
    matched: dict[str, list[ManifestRow]] = {group: [] for group in samples}
    missing: list[Sample] = []
    for group, sample in ((g, s) for g, some in samples.items() for s in some):
        key = sample.key
        if counterpart := by_group.get((group, key)) or by_group.get(("", key)):
            matched[group].append(counterpart)
        else:
            missing.append(sample)
    if missing:
        raise ManifestError(
            f"{against} lacks {len(missing)} images that would be compared, the first of "
            f"{missing[0].prompt.text!r} with seed {missing[0].seed}; make them with the base model"
        )
    return matched
