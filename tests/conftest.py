"""Options of the test run. Write ``--reference-dir=DIR`` with ``=``, or name ``tests`` first."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports a hub client
# What the user of this machine has fetched must not decide a test.
os.environ["VARBENCH_DATA"] = str(Path(__file__).parent / "nothing-fetched")
if "PYTEST_XDIST_WORKER" in os.environ:  # before anything imports torch: a core for each worker
    os.environ["OMP_NUM_THREADS"] = "1"

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
    group.addoption(
        "--prompt-data",
        type=Path,
        metavar="DIR",
        help="folder with published prompt sets; without it the tests of those files are skipped",
    )


@pytest.fixture(scope="session")
def prompt_data(request: pytest.FixtureRequest) -> Path:
    """The folder given by ``--prompt-data``; the test is skipped without."""
    folder: Path | None = request.config.option.prompt_data
    if folder is None:
        pytest.skip("published prompt sets: pass --prompt-data=DIR")
    return folder


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for the quick run; tests asked for by mark may want the machine for themselves."""
    return 2 if config.option.markexpr.startswith("not slow") else 0


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.reference_dir:
        config.option.reference_dir = [REFERENCE]


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a small run of one method; a test that changes it works on a copy."""
    from tests.helpers.leaderboard import run_small

    return run_small(tmp_path_factory.mktemp("small") / "store")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages, whose modules are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
