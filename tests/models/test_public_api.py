"""``varbench.models``: every exported name resolves, and importing the package imports no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from varbench import models
from varbench.models.infinity.model import InfinityModel


def test_every_name_resolves() -> None:
    assert all(getattr(models, name) is not None for name in models.__all__)
    assert issubclass(InfinityModel, models.VarModel)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = models.Nothing


def test_configs_and_the_package_import_no_torch() -> None:
    code = "import sys, varbench.models, varbench.conf.schema; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
