"""One of each kind, added by a package from outside: the files that CONTRIBUTING.md shows."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.helpers.cli import TINY, cells, varbench
from tests.helpers.pages import named_blocks
from tests.helpers.plugin_folder import install

PAGE = "CONTRIBUTING.md"
ORIGIN = "mythings 2.5"
THINGS = {
    "methods": "fading",
    "metrics": "image-count",
    "models": "my-gallery",
    "concepts": "my-clock",
    "prompts": "my-clocks",
}
RUN = ["--model", "my-gallery", "--method", "fading", "--concept", "my-clock", "method.factor=0.25"]
RUN += [option for option in TINY if not option.startswith("method.")]


@pytest.fixture
def installed(site: Path) -> None:
    """The package of the page, as `pip install` puts it there."""
    files = named_blocks(PAGE)
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    files["mythings/__init__.py"] = ""
    install(site, project["name"], files, project["entry-points"], project["version"])


def test_each_thing_is_one_file() -> None:
    stems = {"methods": "method", "metrics": "metric", "models": "model"}
    stems |= {"concepts": "concepts/my-clock", "prompts": "prompts/my-clocks"}
    files = [Path(name).with_suffix("") for name in named_blocks(PAGE) if name != "pyproject.toml"]
    assert {str(file) for file in files} == {f"mythings/{stem}" for stem in stems.values()}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", THINGS)
def test_it_is_listed_with_its_package(kind: str) -> None:
    listed = varbench("list", kind)
    assert listed.exit_code == 0, listed.output
    assert "warning" not in listed.output
    (line,) = (x for x in listed.output.splitlines() if x.split()[:1] == [THINGS[kind]])
    assert line.endswith(ORIGIN)


@pytest.mark.usefixtures("installed")
def test_all_of_them_run_together_and_are_recorded(tmp_path: Path) -> None:
    store = ("--store", str(tmp_path / "store"))
    done = varbench("run", *RUN, *store)
    assert done.exit_code == 0, done.output
    assert "Images ↓" in done.output  # the plugin's own title and direction
    recorded = cells(tmp_path / "store")
    assert set(recorded) == {"none/my-clock/0", "fading/my-clock/0"}
    cell = recorded["fading/my-clock/0"]
    (count,) = (r for r in cell["records"] if r["metric"] == "image-count")
    assert count["value"] == 4
    assert cell["method_config"] == {"factor": 0.25}
    assert cell["provenance"]["model_fingerprint"] == "0123456789abcdef"
    assert cell["provenance"]["plugins"] == {
        f"varbench.{kind}": {name: ORIGIN} for kind, name in THINGS.items()
    }
    planned = varbench("plan", *RUN, *store)
    assert planned.exit_code == 0, planned.output
    assert "memory: unknown" in planned.output
    (edits,) = (line for line in planned.output.splitlines() if line.startswith("edit"))
    assert edits.split()[:4] == ["edit", "1", "1", "0"]
