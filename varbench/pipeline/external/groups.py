"""Which prompt group each image of a list tests, and which image it is compared with."""

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
from varbench.pipeline.external.manifest import ImageListError, Line
from varbench.pipeline.plan import Sample

Key = tuple[str, int]
"""Prompt id and image seed."""


class GroupAssigner:
    """Puts the images of a list into prompt groups.

    A list says the group of an image, or its prompt does: a prompt of the concept's sets belongs
    where the concept has it, another to ``target`` if it shows the concept, else to ``unrelated``.

    Args:
        concept: what is tested.
        suite: may name groups with sets of their own.
    """

    def __init__(self, concept: Concept, suite: SuiteConfig) -> None:
        self.concept = concept
        extra = {name: load_prompt_set(one.set) for name, one in suite.groups.items() if one.set}
        self.valid = (*GROUPS, *(name for name in extra if name not in GROUPS))
        sets = [*concept.sets.values(), *extra.values()]
        self.known = {p.id: p for one in reversed(sets) for p in one.prompts}
        self.group_of: dict[str, str] = {}
        for name in self.valid:
            own = cast(GroupName, name)
            prompts = extra[name].prompts if name in extra else concept.group(own)
            for prompt in prompts:
                self.group_of.setdefault(prompt.id, name)

    def groups(
        self, lines: Iterable[Line], wanted: Mapping[str, list[Sample]] | None
    ) -> dict[str, tuple[list[Sample], list[Line]]]:
        """Rows and lines of each group: as wanted, or all, a prompt's seeds side by side.

        Raises:
            ImageListError: an image is there twice, in a group that cannot be, missing or
                surplus.
        """
        found: dict[str, dict[Key, tuple[Sample, Line]]] = {}
        for line in lines:
            prompt, group = self._place(line)
            mine = found.setdefault(group, {})
            key = (prompt.id, line.seed)
            if key in mine:
                raise ImageListError(
                    f"{line.where}: prompt and seed are those of {mine[key][1].where}; "
                    "number the images of a prompt"
                )
            mine[key] = (Sample(prompt, line.seed), line)
        if wanted is not None:
            _complete(found, wanted)
        order: dict[str, list[Key]] = {}
        for group in self.valid:
            if wanted is not None and group in wanted:
                order[group] = [(row.prompt.id, row.seed) for row in wanted[group]]
            elif group in found:
                first = {id: i for i, id in enumerate(dict.fromkeys(id for id, _ in found[group]))}
                order[group] = sorted(found[group], key=lambda key: (first[key[0]], key[1]))
        return {
            group: ([found[group][k][0] for k in keys], [found[group][k][1] for k in keys])
            for group, keys in order.items()
        }

    def _place(self, line: Line) -> tuple[Prompt, str]:
        id = prompt_id(line.prompt)
        prompt = self.known.get(id) or Prompt(line.prompt, id, dict(line.labels))
        shown = self.concept.depicts(prompt)
        group = line.group or self.group_of.get(id) or (TARGET if shown else UNRELATED)
        if group not in self.valid:
            raise ImageListError(
                f"{line.where}: unknown group {group!r}: {suggest(group, self.valid)}"
            )
        if shown and group not in ASKING:
            raise ImageListError(
                f"{line.where}: {line.prompt!r} shows the concept, and group {group!r} is for "
                "prompts that do not; put it into target, or delete the row"
            )
        return prompt, group


def _complete(
    found: Mapping[str, Mapping[Key, tuple[Sample, Line]]], wanted: Mapping[str, Sequence[Sample]]
) -> None:
    for group, rows in wanted.items():
        lacking = [r for r in rows if (r.prompt.id, r.seed) not in found.get(group, {})]
        if lacking:
            first = lacking[0]
            raise ImageListError(
                f"the suite asks for {len(rows)} images of group {group!r} and the list lacks "
                f"{len(lacking)}, the first of {first.prompt.text!r} with seed {first.seed}; make "
                "them (--wanted writes the suite's list), or drop --suite"
            )
    for group, images in found.items():
        asked = {(row.prompt.id, row.seed) for row in wanted.get(group, ())}
        for key, (_, line) in images.items():
            if key not in asked:
                raise ImageListError(
                    f"{line.where}: the suite does not ask for {line.prompt!r} with seed "
                    f"{line.seed} in group {group!r}; delete the row, or drop --suite"
                )


def matched(
    rows: Mapping[str, Sequence[Sample]], lines: Sequence[Line], against: Path
) -> dict[str, list[Line]]:
    """The unerased model's image of every row: of the same group, or else of any.

    Raises:
        ImageListError: it has none, or two for one prompt and seed.
    """
    places: dict[tuple[str, Key], Line] = {}
    for line in lines:
        key = (prompt_id(line.prompt), line.seed)
        first = places.setdefault((line.group, key), line)
        if first is not line:
            raise ImageListError(
                f"{line.where}: prompt and seed are those of {first.where}; number the images "
                "of a prompt"
            )
        places.setdefault(("", key), line)
    found: dict[str, list[Line]] = {}
    lacking: list[Sample] = []
    for group, some in rows.items():
        found[group] = []
        for row in some:
            key = (row.prompt.id, row.seed)
            if line_or_none := places.get((group, key)) or places.get(("", key)):
                found[group].append(line_or_none)
            else:
                lacking.append(row)
    if lacking:
        raise ImageListError(
            f"{against} lacks {len(lacking)} images that would be compared, the first of "
            f"{lacking[0].prompt.text!r} with seed {lacking[0].seed}; make them with the unerased "
            "model"
        )
    return found
