"""The store: finished work on disk under the hash of what decides it."""

from varbench.store.cached import ORIGIN, cached, next_sequence, sequence_of
from varbench.store.entry import INPUTS, MANIFEST, Entry, Stage, StoreError, Writer
from varbench.store.hashing import digest
from varbench.store.store import Store

__all__ = [
    "INPUTS",
    "MANIFEST",
    "ORIGIN",
    "Entry",
    "Stage",
    "Store",
    "StoreError",
    "Writer",
    "cached",
    "digest",
    "next_sequence",
    "sequence_of",
]
