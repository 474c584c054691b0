"""The id of a prompt: what random numbers, stores and reports know a text by."""

from __future__ import annotations

import hashlib
import unicodedata


def prompt_id(prompt: str) -> str:
    """Hex id of a prompt: 16 digits of the SHA-256 of its NFC text."""
    return hashlib.sha256(unicodedata.normalize("NFC", prompt).encode()).hexdigest()[:16]
