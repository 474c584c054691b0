"""The house rules that a machine can check: who imports whom, sizes, and an instant front door."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers.report import put_cell
from varbench.store import Store
from varbench.utils.files import packaged

ROOT = Path(__file__).parents[1]
LIBRARY = sorted(
    path for top in ("varbench", "baselines", "tools") for path in (ROOT / top).rglob("*.py")
)
HEAVY = ("torch", "torchvision", "transformers", "open_clip", "onnxruntime", "cleanfid")
LONGEST = 400
HELP_SECONDS = 1.5
"""Bound on processor time; 0.25 s was measured on one core of a server."""


def run_python(code: str, *args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_dependencies_point_one_way() -> None:
    done = run_python(
        "from importlinter.cli import lint_imports; exit(lint_imports(no_cache=True))"
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_prints_nothing(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    assert lines <= LONGEST, f"{lines} lines: split it by what its parts tell"
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    prints = [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
    assert not prints, f"print in line {prints[0]}: return the text, or use logging or progress"


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("run", "--help"),
        ("plan", "--help"),
        ("list", "models"),
        ("list", "methods"),
        ("list", "concepts"),
        ("list", "suites"),
        ("list", "metrics"),
        ("list", "prompts"),
        ("list", "weights"),
        ("list", "ablations"),
        ("fetch",),
        ("report", "--format", "json"),
    ],
    ids=" ".join,
)
def test_instant_commands_load_no_network_library(args: tuple[str, ...], tmp_path: Path) -> None:
    put_cell(Store(tmp_path / "varbench-runs"), "none")
    code = f"""
import sys
from varbench.cli import app
app(sys.argv[1:], standalone_mode=False)
loaded = sorted(set({HEAVY}) & set(sys.modules))
sys.exit(f"loaded {{loaded}}" if loaded else 0)
"""
    done = run_python(code, *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()


@pytest.mark.skipif(os.name == "nt", reason="needs os.times of children")
def test_help_is_instant() -> None:
    """Processor time, not the clock: a busy machine must not fail the test."""

    def seconds() -> float:
        before = os.times()
        done = run_python("from varbench.cli import main; main()", "--help")
        after = os.times()
        assert done.returncode == 0, done.stderr
        return (after.children_user + after.children_system) - (
            before.children_user + before.children_system
        )

    assert min(seconds() for _ in range(3)) < HELP_SECONDS


@pytest.mark.parametrize("folder", ["baselines", "prompts", "results"])
def test_a_folder_at_the_top_is_part_of_the_package(folder: str) -> None:
    """A link in the checkout, a folder in the wheel (`test_wheel.py`)."""
    assert packaged(folder).resolve() == (ROOT / folder).resolve()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    targets = settings["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["sources"][folder] == f"varbench/{folder}"
    assert all(f"/varbench/{folder}" in targets[kind]["exclude"] for kind in ("wheel", "sdist"))


def test_constraints_are_plain_pins() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 50
    for pin in pins:
        name, _, version = pin.partition("==")
        assert name
        assert version[:1].isdigit(), pin
        assert not set(pin) & set(" @/+;"), pin
