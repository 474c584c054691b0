"""Get an entry or compute it: the one place where an entry comes to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from varbench.store.entry import Entry, Writer
from varbench.store.stage import Stage
from varbench.store.store import Store

DEVICE = "device"
"""Key of ``Entry.meta`` for the name of the device that computed an entry."""


def cached(
    store: Store,
    stage: Stage,
    spec: Mapping[str, Any],
    compute: Callable[[Writer], None],
    device: str | None = None,
) -> Entry:
    """The entry of a spec: found in the store, or computed once, under the entry's lock.

    Args:
        store: where to look and write.
        stage, spec: of the entry.
        compute: writes the payload into ``Writer.dir``, and what else is known into its ``meta``.
        device: name of the device that computes; None for work that no device decides.

    Raises:
        StoreError: the store cannot be written.
        Whatever `compute` raises; nothing is stored then.
    """
    if entry := store.get(stage, spec):
        return entry
    with store.lock(stage, spec):
        if entry := store.get(stage, spec):  # another process computed it meanwhile
            return entry
        with store.write(stage, spec) as writer:
            if device is not None:
                writer.meta[DEVICE] = device
            compute(writer)
    assert writer.entry is not None
    return writer.entry
