"""Types of the fields of YAML forms, and the checks of their values.

An error reads as the rest of a sentence that begins with the field's name.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, with_config

T = TypeVar("T")

_WHOLE = re.compile(r"-?\d{1,18}")

strict = with_config(ConfigDict(extra="forbid"))


class ItemError(ValueError):
    """An error at one item of a list.

    Args:
        index: of the item.
        problem: what is wrong, and the fix.
    """

    def __init__(self, index: int, problem: str):
        super().__init__(problem)
        self.index = index


def _check_text(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; give it a text")
    return text


def _check_items(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise ValueError("is an empty list; give it at least one item")
    return values


def _check_distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ItemError(index, f"has {value!r} twice; delete one of them")
    return values


def whole(low: int, high: int) -> BeforeValidator:
    """Annotation of an `int` field: a whole number from `low` to `high`."""

    def check(value: object) -> int:
        if isinstance(value, str) and _WHOLE.fullmatch(value) and low <= int(value) <= high:
            return int(value)
        shown = f", not {value!r}" if isinstance(value, str) else ""
        raise ValueError(f"must be a whole number from {low} to {high}{shown}")

    return BeforeValidator(check)


AT_LEAST_ONE = AfterValidator(_check_items)
DISTINCT = AfterValidator(_check_distinct)
Text = Annotated[str, AfterValidator(_check_text)]
AnyTexts = Annotated[tuple[Text, ...], DISTINCT]
Texts = Annotated[AnyTexts, AT_LEAST_ONE]
Labels = Annotated[tuple[str, ...], DISTINCT, AT_LEAST_ONE]  # "" is a label too
