"""Options of the test run. Write ``--reference-dir=DIR`` with ``=``, or name ``tests`` first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports a hub client

REFERENCE = Path(__file__).parent / "data" / "infinity_reference"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("varbench", "varbench data folders")
    group.addoption(
        "--reference-dir",
        action="append",
        type=Path,
        metavar="DIR",
        help=f"folder of Infinity reference tensors; may be repeated (default: {REFERENCE})",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.reference_dir:
        config.option.reference_dir = [REFERENCE]
