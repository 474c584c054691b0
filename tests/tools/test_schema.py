"""The published JSON Schemas are those of the classes, and results files follow them."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator, ValidationError

from tests.helpers.paths import ROOT
from tools.results.schema import FOLDER, KINDS, schema
from varbench.leaderboard.results import results_files


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_schema_is_that_of_the_class(kind: str) -> None:
    published = json.loads((FOLDER / f"{kind}.schema.json").read_text(encoding="utf-8"))
    assert published == schema(kind), "run python -m tools.results.schema"
    Draft202012Validator.check_schema(published)


def test_results_files_follow_the_schema_and_altered_ones_do_not() -> None:
    measured = Draft202012Validator(schema("leaderboard"))
    for path in results_files(ROOT / "results" / "leaderboard")[:3]:
        body = json.loads(path.read_text(encoding="utf-8"))
        measured.validate(body)
        for wrong in ({"rank": 1}, {"sha256": "short"}):
            with pytest.raises(ValidationError):
                measured.validate(body | wrong)
