"""Bad requests are refused before any work: exit code 2, and the choices or the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.cli import varbench


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--method", "svar"], ["svar", "'svare'", "naive"]),
        (["--concept", "face-adda"], ["face-adda", "face-ada"]),
        (["--suite", "smok"], ["'smoke'"]),
        (["--model", "galery"], ["'gallery'"]),
        (["method.alfa=0.5"], ["method.alpha"]),
        (["method.alpha=two"], ["alpha"]),
        (["method.alpha=3"], ["share between 0 and 1"]),
        (["suite.blok=3"], ["suite.block"]),
        (["alpha"], ["KEY=VALUE"]),
        (["--seed", "one"], ["numbers separated by commas"]),
        (["--concept", "nowhere.yaml"], ["nowhere.yaml"]),
        (["--from", "nowhere.json"], ["nowhere.json"]),
        (["--device", "tpu"], ["tpu", "cpu"]),
    ],
)
def test_bad_requests_are_refused_before_work(
    args: list[str], words: list[str], tmp_path: Path
) -> None:
    result = varbench("run", "--store", str(tmp_path / "store"), *args)
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output
    assert "Traceback" not in result.output
    assert not list((tmp_path).glob("store/pictures/*"))
