"""The names that `varbench.methods` offers to authors: all there, and loaded only when used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import varbench.methods
from varbench.methods.registry import METHODS


def declared() -> dict[str, str]:
    """Name -> module, as type checkers and editors see them."""
    tree = ast.parse(Path(varbench.methods.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {
        alias.name: str(node.module)
        for node in imports
        for alias in node.names
        if str(node.module).startswith("varbench.")
    }


def test_type_checkers_see_the_names_that_are_loaded() -> None:
    assert declared() == varbench.methods._HOMES
    assert set(declared()) <= set(dir(varbench.methods))
    for name, module in declared().items():
        offered = getattr(varbench.methods, name)
        assert offered is getattr(sys.modules[module], name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'no_such_loss'"):
        _ = varbench.methods.no_such_loss  # type: ignore[attr-defined]


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, varbench.methods, varbench.baselines; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_both_packages_list_all_methods() -> None:
    import varbench.baselines

    for text in (varbench.methods.__doc__, varbench.baselines.__doc__):
        assert set(METHODS) <= set(re.findall(r"[\w-]+", str(text)))
