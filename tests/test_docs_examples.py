"""Examples and commands of the pages work as they stand there."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from tests.helpers.cli import TINY, cells, varbench
from tests.helpers.pages import named_blocks
from tests.helpers.paths import ROOT
from tests.helpers.plugin_folder import install
from tests.helpers.tiny import tiny_model
from varbench.store import Store

PAGE = "docs/adding-a-method.md"
METHOD = "erasers/unfiltered.py"
LINES = 20
RUN = ["run", "--method", "unfiltered,away", "pairs=2", *TINY]


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    found = named_blocks(PAGE)
    assert set(found) == {METHOD, "erasers/away.py", "pyproject.toml"}
    return {**found, "erasers/__init__.py": ""}


@pytest.fixture
def installed(files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads(files["pyproject.toml"])["project"]
    modules = {path: text for path, text in files.items() if path.endswith(".py")}
    site = tmp_path / "site"
    install(site, project["name"], modules, project["entry-points"], project["version"])
    monkeypatch.syspath_prepend(site)


def test_the_method_is_complete_in_twenty_lines_and_the_same_on_both_pages() -> None:
    method = named_blocks(PAGE)[METHOD]
    assert 0 < method.count("\n") <= LINES
    assert named_blocks("README.md")[METHOD] == method


@pytest.mark.usefixtures("installed")
def test_the_examples_run_by_name(tmp_path: Path) -> None:
    listed = varbench("list", "methods")
    assert listed.exit_code == 0, listed.output
    assert "Cross entropy on all tokens, no preservation." in listed.output
    assert "erasers 0.1" in listed.output
    store = tmp_path / "store"
    done = varbench(*RUN, "method.strength=2", "--store", str(store))
    assert done.exit_code == 0, done.output
    recorded = cells(store)
    assert {name.split("/")[0] for name in recorded} == {"none", "unfiltered", "away"}
    for method in ("unfiltered", "away"):
        (cell,) = (c for c in recorded.values() if c["method"] == method)
        assert cell["provenance"]["plugins"] == {"varbench.methods": {method: "erasers 0.1"}}
    (none,) = (c for c in recorded.values() if c["method"] == "none")
    assert none["provenance"]["plugins"] == {}
    (edit,) = Store(store).entries("edit")
    assert edit.spec["method"] == "unfiltered"
    drawn: dict[str, list[bytes]] = {}
    for entry in Store(store).entries("pictures"):
        steering = entry.spec["steering"]
        name = "none" if entry.spec["edit"] is None else "unfiltered"
        name = steering["method"] if steering else name
        drawn.setdefault(name, []).append(entry.path("000.png").read_bytes())
    assert len({tuple(sorted(images)) for images in drawn.values()}) == len(drawn) == 3


@pytest.mark.usefixtures("installed")
def test_the_guidance_is_its_formula() -> None:
    model = tiny_model()
    away = importlib.import_module("erasers.away")
    steering = away.Steering(model.encode(["red"]), strength=0.5, weight=3.0)
    branches = steering.branches(model, model.encode(["a cat", "a dog"]))
    assert [len(branch) for branch in branches] == [2, 2, 2]
    prompt, null, words = torch.randn(3, 2, 4, 8, 2)
    expected = null + 3 * (prompt - null) - 0.5 * (words - null)
    torch.testing.assert_close(steering.combine(0, [prompt, null, words]), expected)


@pytest.mark.slow
def test_the_package_is_built_installed_and_run(files: dict[str, str], tmp_path: Path) -> None:
    project, site, empty = (tmp_path / name for name in ("project", "site", "empty"))
    for path, text in files.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text, encoding="utf-8")
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    for command in (
        [*pip, "--no-index", "--quiet", "--target", str(site), str(project)],
        [sys.executable, "-m", "varbench.cli", *RUN],
    ):
        done = subprocess.run(
            command, cwd=empty, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = cells(empty / "varbench-runs")
    (cell,) = (c for c in found.values() if c["method"] == "away")
    assert cell["provenance"]["plugins"] == {"varbench.methods": {"away": "erasers 0.1"}}
