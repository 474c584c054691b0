"""Images that could not be made, or not be looked at: kept with the reason, counted, never used.

A block of images lacks the files of those that failed, and the arrays of scores lack their rows;
``meta`` of the entry then has ``failed``: number in the block -> reason. What is computed from an
entry that has it inherits it. Making them again gives the same, as long as the cause is the same:
:func:`forget` removes such entries, for a run to make them anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from varbench.errors import UserError
from varbench.store import Entry, Stage, Store, Writer

LIMIT = 0.05
"""The largest share of a group's images that may fail in a cell that is recorded."""
STAGES = (
    Stage.IMAGES, Stage.COMPLETIONS, Stage.ATTACKED, Stage.SCORES, Stage.COMPARE, Stage.CELL,
)  # fmt: skip
"""Stages whose entries may lack images that failed; what is computed from others comes later."""
META = "failed"
log = logging.getLogger("varbench.failed")


class Failed(NamedTuple):
    """An image that failed: in which entry ("stage/key"), and why."""

    entry: str
    reason: str


def failed_in(entry: Entry) -> dict[int, str]:
    """Reason by number in the block; empty where nothing failed."""
    return {int(number): str(reason) for number, reason in entry.meta.get(META, {}).items()}


def left_in(entry: Entry, count: int) -> list[int]:
    """The numbers, of `count` in the block, that the entry has an image or a row of scores of."""
    failed = failed_in(entry)
    return [number for number in range(count) if number not in failed]


def warn(stage: str, prompts: Sequence[str], failed: Mapping[int, str]) -> None:
    """Warn of failed images, by prompt, as they fail."""
    for number, reason in failed.items():
        log.warning("%s failed for %r: %s", stage, prompts[number], reason)


def note(writer: Writer, failed: Mapping[Any, Any]) -> None:
    """Keep with an entry what failed in it: reasons by number; with a cell, how many by group."""
    if failed:
        writer.meta[META] = {str(key): failed[key] for key in sorted(failed)}


def check_share(
    failed: Mapping[str, Sequence[Failed]], sizes: Mapping[str, int], limit: float
) -> None:
    """Refuse groups of which more than a share is lost; sizes count failed images too.

    Raises:
        UserError: names the groups, and reasons.
    """
    over = {group: some for group, some in failed.items() if len(some) > limit * sizes[group]}
    if not over:
        return
    counts = ", ".join(f"{len(some)} of {sizes[group]} in {group}" for group, some in over.items())
    told = dict.fromkeys(one for some in over.values() for one in some)
    lines = "\n".join(f"  {one.entry[:24]}: {one.reason}" for one in list(told)[:5])
    raise UserError(
        f"images failed: {counts}. Nothing was recorded, as the rest may not stand for all; what "
        "is done is in the store. Mend the cause and add --retry-failed, or record what there is "
        f"with --max-failed SHARE (now {limit:g})\n{lines}"
    )


def forget(store: Store) -> int:
    """Remove all entries in which something failed, so that they are made again; gives how many."""
    entries = (one for stage in STAGES for one in store.entries(stage, verify=False))
    found = [one for one in entries if one.meta.get(META)]
    for entry in found:
        store.remove(entry)
    return len(found)
