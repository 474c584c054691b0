"""Computing an entry once, from inputs that are what they were, and numbering entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from varbench.store.entry import INPUTS, MANIFEST, Entry, Stage, Writer
from varbench.store.store import Store
from varbench.utils.origin import origin

ORIGIN = "origin"
"""Key of ``Entry.meta`` for the versions, commit and device that computed an entry."""


def cached(
    store: Store,
    stage: Stage,
    spec: Mapping[str, Any],
    compute: Callable[[Writer], None],
    inputs: Sequence[Entry] = (),
    device: str | None = None,
    read: Mapping[str, str] = {},
) -> Entry:
    """The entry of a spec: found in the store, or computed once, under the entry's lock.

    An entry that was computed from other contents than its inputs have now is computed again.

    Args:
        compute: writes the payload into ``Writer.dir``, and what else is known into its ``meta``.
        inputs: all entries that `compute` reads.
        device: name of the device that computes; None for work that no device decides.
        read: digests, by name, of what `compute` reads besides and `spec` does not say.

    Raises:
        StoreError: the store cannot be written.
        Whatever `compute` raises; nothing is stored then.
    """
    entry = store.get(stage, spec)
    if entry is not None and entry.computed_from(inputs, read):
        return entry
    with store.lock(stage, spec):
        entry = store.get(stage, spec)  # another process may have computed it meanwhile
        if entry is not None:
            if entry.computed_from(inputs, read):
                return entry
            store.remove(entry)
        with store.write(stage, spec) as writer:
            writer.meta[INPUTS] = {entry.name: entry.content for entry in inputs} | dict(read)
            writer.meta[ORIGIN] = origin(device)
            compute(writer)
    assert writer.entry is not None
    return writer.entry


_SEQUENCE = "turn"
"""Key of ``Entry.meta`` for the sequence number; clocks jump, and differ between machines."""
_IN_MANIFEST = re.compile(rb'^  "%s": (\d+)' % _SEQUENCE.encode(), re.MULTILINE)


def next_sequence(store: Store, stage: str) -> dict[str, int]:
    """The sequence number for the ``meta`` of an entry about to be written: the largest plus 1.

    Manifests are searched, not parsed: a store may have thousands.
    """
    largest = 0
    for path in (store.root / stage).glob(f"??/*/{MANIFEST}"):
        with suppress(OSError):  # removed meanwhile
            numbers = map(int, _IN_MANIFEST.findall(path.read_bytes()))
            largest = max(largest, *numbers, 0)
    return {_SEQUENCE: 1 + largest}


def sequence_of(entry: Entry) -> tuple[int, str]:
    """Sorts entries of a stage by when they were written; the key breaks ties."""
    number = entry.meta.get(_SEQUENCE, 0)
    return number if isinstance(number, int) else 0, entry.key
