"""What was written last, by a number that each entry gets: clocks jump, and differ by machine."""

from __future__ import annotations

from varbench.store import Entry, Store

_META = "turn"


def next_sequence(store: Store, stage: str) -> dict[str, int]:
    """For the ``meta`` of an entry that is about to be written: one more than any other has."""
    others = (entry.meta.get(_META, 0) for entry in store.entries(stage, verify=False))
    return {_META: 1 + max(others, default=0)}


def sequence_of(entry: Entry) -> tuple[int, str]:
    """Sorts entries of a stage by when they were written; the key decides between two at once."""
    return entry.meta.get(_META, 0), entry.key
