"""The house rules that a machine can check: layers, sizes, words, and what is imported."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

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
NO_MODULES = {"py.typed", "__pycache__"}
ENTRIES = 14
LAYERS = 12
LONGEST = 250
QUESTION = re.compile(r"(?i)\s*(what|whether|which|how|where|who|when|why)\b")
OLD_WORDS = re.compile(r"(?i)workshop|cupboard|workplace|picture|elsewhere|unerased")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tool_settings() -> dict[str, Any]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    tools: dict[str, Any] = tomllib.loads(text)["tool"]
    return tools


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


def test_the_layers_are_all_packages_without_exceptions() -> None:
    contracts = tool_settings()["importlinter"]["contracts"]
    assert not any(key.startswith("ignore") for contract in contracts for key in contract)
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert len(layers) <= LAYERS
    modules = {path.stem for path in (ROOT / "varbench").iterdir() if path.name not in NO_MODULES}
    modules -= {"__init__", "prompts", "results"}
    listed = [name for layer in layers for name in layer.split(" | ")]
    assert sorted(listed) == sorted(f"varbench.{name}" for name in modules)


def test_the_top_of_the_package_has_few_entries() -> None:
    entries = {p.name for p in (ROOT / "varbench").iterdir() if not p.is_symlink()} - NO_MODULES
    assert len(entries) <= ENTRIES, sorted(entries)


def test_only_cached_writes_entries() -> None:
    """Everywhere else an entry would be computed twice by two runs on one store."""
    writers = [
        f"{name_of(path)}: {function.name}"
        for path in LIBRARY
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and len(node.args) > 1
        if ast.unparse(node.func).endswith("store.write")
    ]
    assert writers == ["varbench/store/cached.py: cached"]


def test_files_are_short() -> None:
    lengths = {name_of(p): p.read_text(encoding="utf-8").count("\n") for p in LIBRARY}
    long = {name: lines for name, lines in lengths.items() if lines > LONGEST}
    assert not long, f"divide them by subject: {long}"


def test_docstrings_open_with_the_thing() -> None:
    """A noun phrase or an imperative, not a question word; those of constants and tests, too."""
    openings = {
        f"{name_of(path)}: {node.value.value.strip().splitlines()[0]}"
        for path in (*LIBRARY, *TESTS, *(ROOT / "benchmarks").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str) and QUESTION.match(node.value.value)
    }
    assert not openings


def test_no_identifier_has_an_old_word() -> None:
    """Stored names keep them, in strings."""
    old = {
        f"{name_of(path)}: {name}"
        for path in LIBRARY
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (getattr(node, field, None) for field in ("id", "attr", "arg", "name"))
        if name and OLD_WORDS.search(str(name))
    }
    assert not old


def test_no_test_imports_a_test() -> None:
    imports = re.compile(
        r"^\s*(from tests[.\w]* import|from|import) (tests\.)?(\w+\.)*test_", re.MULTILINE
    )
    assert not [name_of(p) for p in TESTS if imports.search(p.read_text(encoding="utf-8"))]


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
    targets = tool_settings()["hatch"]["build"]["targets"]
    assert folder in targets["wheel"]["only-include"]
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
