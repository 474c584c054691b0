"""Digests, fingerprints, versions, settings and titles are the frozen ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.golden.frozen import frozen

FROZEN = json.loads((Path(__file__).parent / "frozen.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(frozen()))
    return made


@pytest.mark.parametrize("kind", FROZEN)
def test_values_are_as_frozen(kind: str, found: dict[str, Any]) -> None:
    assert list(found[kind]) == list(FROZEN[kind])
    assert found[kind] == FROZEN[kind]
