"""Prompts with their ids and labels, and sets of them."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from varbench.errors import UserError


class PromptSetError(UserError, ValueError):
    """A prompt set is unknown or malformed; the message names file, line and fix."""


class MissingPromptSetError(PromptSetError):
    """A published prompt set is not on this machine, or not whole.

    Args:
        message: what is missing.
        command: the command that fetches it.
    """

    def __init__(self, message: str, command: str):
        super().__init__(f"{message}; run `{command}`")
        self.command = command


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        text: the prompt, exactly as written in the file.
        id: `prompt_id(text)`, 16 hex digits.
        labels: what a faithful image shows, one entry per label column; "" = not in the image.
        strata: labels that a smaller choice of prompts may be balanced over; None = all of them.
    """

    text: str
    id: str
    labels: Mapping[str, str] = field(hash=False)
    strata: tuple[str, ...] | None = None


@dataclass(frozen=True)
class PromptSet:
    """A prompt set: distinct, non-empty prompts in the order of the file.

    Attributes:
        name: the file's name without `.csv`.
        sha256: hash of the file's bytes, 64 hex digits.
        prompts: at least one prompt.
    """

    name: str
    sha256: str
    prompts: tuple[Prompt, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the label columns, in the order of the file."""
        return tuple(self.prompts[0].labels)

    def values(self, column: str) -> tuple[str, ...]:
        """The distinct labels of a column, in order of appearance ("" included).

        Raises:
            KeyError: the set has no such label column.
        """
        return tuple(dict.fromkeys(prompt.labels[column] for prompt in self.prompts))


def prompt_id(prompt: str) -> str:
    """Hex id of a prompt: 16 digits of the SHA-256 of its NFC text."""
    return hashlib.sha256(unicodedata.normalize("NFC", prompt).encode()).hexdigest()[:16]
