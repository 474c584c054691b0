"""The store: finished work on disk under the hash of what decides it."""

from varbench.store.store import (
    MANIFEST,
    Entry,
    FileInfo,
    Store,
    StoreBusyError,
    StoreError,
    Writer,
    canonical_json,
    digest,
    file_sha256,
)

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
]
