"""In a checkout, `varbench_baselines` is the folder `baselines/`.

The wheel installs that folder as a package of this name and leaves this file out. A module with
a `__path__` is a package to Python, so imports are the same in both.
"""

from __future__ import annotations

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parent / "baselines")]
