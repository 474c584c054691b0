"""Optional packages: asked for by a setting, refused with the command that installs them."""

from __future__ import annotations

import importlib.util


def require(package: str, extra: str, setting: str) -> None:
    """Check that a package is there, without importing it.

    Raises:
        ValueError: it is not; says how to install it.
    """
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"{setting} needs {package}: pip install 'varbench[{extra}]'")
