"""The names that `varbench.methods` offers to authors: all there, and loaded only when used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import varbench.methods


def test_every_name_resolves_and_is_listed() -> None:
    assert {"Edit", "FineTuneConfig", "fine_tune", "SharedHistory"} <= set(varbench.methods.__all__)
    assert set(varbench.methods.__all__) <= set(dir(varbench.methods))
    for name in varbench.methods.__all__:
        assert getattr(varbench.methods, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'no_such_loss'"):
        _ = varbench.methods.no_such_loss  # type: ignore[attr-defined]


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, varbench.methods, varbench.baselines; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
