"""The store: finished work on disk under the hash of what decides it."""

from varbench.store.entry import MANIFEST, Entry, Stage, StoreError, Writer
from varbench.store.hashing import digest
from varbench.store.store import DEVICE, Store, cached, next_sequence, sequence_of

__all__ = [
    "DEVICE",
    "MANIFEST",
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
