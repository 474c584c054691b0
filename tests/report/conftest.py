"""A store that several files of tests report on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.report import NUMBERS, put_cell
from varbench.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "runs")
    for method in NUMBERS:
        put_cell(made, method)
    put_cell(made, "svare", seed=1, shift=0.02)
    return made
