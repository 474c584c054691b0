"""varbench: concept erasure for next-scale (VAR) text-to-image models, measured.

The command line is the front door; from Python, `load_results` reads what was measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_results"]


def load_results(path: str | Path) -> pd.DataFrame:
    """Measured results as one tidy DataFrame: a leaderboard's folder, or a store.

    One row per number; see `varbench.leaderboard.views.load_results` for columns and errors.
    """
    from varbench.leaderboard import views  # pandas and pydantic only where they are needed

    return views.load_results(path)
