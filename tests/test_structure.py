"""The house rules that a machine can check: layers, sizes, words, and what is imported."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.report import put_cell
from varbench.cli.catalog import KINDS
from varbench.store import Store
from varbench.utils.files import packaged

LIBRARY = sorted(
    path for top in ("varbench", "baselines", "tools") for path in (ROOT / top).rglob("*.py")
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HEAVY = ("torch", "torchvision", "transformers", "open_clip", "onnxruntime", "cleanfid")
ENTRIES = 14
LONGEST = 250
QUESTION = re.compile(r"(What|Whether|Which|How|Where|Who|When|Why)\b")
OLD_WORDS = re.compile(r"(?i)workshop|cupboard|workplace|picture")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


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


def test_the_top_of_the_package_has_few_entries() -> None:
    entries = [path.name for path in (ROOT / "varbench").iterdir() if not path.is_symlink()]
    entries = [name for name in entries if name not in {"py.typed", "__pycache__"}]
    assert len(entries) <= ENTRIES, sorted(entries)


def test_files_are_short() -> None:
    lengths = {name_of(p): p.read_text(encoding="utf-8").count("\n") for p in LIBRARY}
    long = {name: lines for name, lines in lengths.items() if lines > LONGEST}
    assert not long, f"divide them by subject: {long}"


def test_docstrings_open_with_the_thing() -> None:
    """A noun phrase or an imperative, not a question word."""
    openings: dict[str, list[str]] = {}
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node) or ""
                if QUESTION.match(docstring):
                    openings.setdefault(name_of(path), []).append(docstring.partition("\n")[0])
    assert not openings


def test_no_identifier_has_an_old_word() -> None:
    """Stored names keep them, in strings."""
    found = set()
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [getattr(node, field, None) for field in ("id", "attr", "arg", "name")]
            found |= {f"{name_of(path)}: {n}" for n in names if n and OLD_WORDS.search(str(n))}
    assert not found


def test_no_test_imports_a_test() -> None:
    imports = re.compile(r"^\s*(from|import) tests\.(\w+\.)*test_", re.MULTILINE)
    found = {name_of(p) for p in TESTS if imports.search(p.read_text(encoding="utf-8"))}
    assert not found


def test_reading_commands_load_no_network_library(tmp_path: Path) -> None:
    """Nor do `import varbench` and ``--help`` load pandas or hydra."""
    put_cell(Store(tmp_path / "varbench-runs"), "none")
    commands = [["list", kind] for kind in KINDS] + [["fetch"], ["report", "--format", "json"]]
    code = f"""
import sys
def check(step, *names):
    loaded = sorted({{*{HEAVY}, *names}} & set(sys.modules))
    if loaded:
        sys.exit(f"{{step}} loads {{loaded}}")
import varbench
check("import varbench", "pandas", "pydantic", "hydra")
from varbench.cli import app
for command in (["--help"], ["run", "--help"], ["plan", "--help"]):
    app(command, standalone_mode=False)
    check(command, "pandas", "hydra")
for command in {commands}:
    app(command, standalone_mode=False)
    check(command)
"""
    done = run_python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert '"method": "none"' in done.stdout


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
