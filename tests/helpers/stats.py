"""Clustered prompts and a normal quantile for the tests of intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054


def prompts(count: int, images: int) -> NDArray[np.str_]:
    """Prompt ids, `images` rows for each of `count` prompts."""
    return np.repeat([f"prompt-{index:04d}" for index in range(count)], images)
