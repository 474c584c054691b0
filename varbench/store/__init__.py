"""The store: finished work on disk under the hash of what decides it."""

from varbench.store.entry import MANIFEST, Entry, FileInfo, StoreBusyError, StoreError, Writer
from varbench.store.hashing import canonical_json, digest, file_sha256
from varbench.store.store import Store, next_sequence, sequence_of

__all__ = [
    "MANIFEST",
    "Entry",
    "FileInfo",
    "Store",
    "StoreBusyError",
    "StoreError",
    "Writer",
    "canonical_json",
    "digest",
    "file_sha256",
    "next_sequence",
    "sequence_of",
]
