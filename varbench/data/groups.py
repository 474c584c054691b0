"""Prompt groups by name: what each of them tests."""

from __future__ import annotations

from typing import Final, Literal

GroupName = Literal["target", "implicit", "adversarial", "neighbours", "unrelated"]

TARGET: Final = "target"  # asks for the concept
IMPLICIT: Final = "implicit"  # asks for it in other words
ADVERSARIAL: Final = "adversarial"  # made to get it past an erasure
NEIGHBOURS: Final = "neighbours"  # near the concept
UNRELATED: Final = "unrelated"
COCO: Final = "coco"  # captions of COCO: no group of concepts, but of suites that name their set

ASKING: tuple[GroupName, ...] = (TARGET, IMPLICIT, ADVERSARIAL)  # a faithful image has the concept
KEPT: tuple[GroupName, ...] = (NEIGHBOURS, UNRELATED)  # an erasure must not change their images
GROUPS: tuple[GroupName, ...] = (*ASKING, *KEPT)  # those of a concept, in the order of its file
