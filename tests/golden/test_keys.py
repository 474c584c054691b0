"""The keys of all entries of some runs are the frozen ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden.keys import keys_of_request
from tests.golden.requests import REQUESTS

FROZEN = json.loads((Path(__file__).parent / "keys.json").read_text(encoding="utf-8"))


def test_every_request_is_frozen() -> None:
    assert list(FROZEN) == list(REQUESTS)


@pytest.mark.parametrize("name", REQUESTS)
def test_keys_are_as_frozen(name: str) -> None:
    keys = keys_of_request(REQUESTS[name])
    assert list(keys) == list(FROZEN[name])
    for stage, frozen in FROZEN[name].items():
        assert keys[stage] == frozen, stage
