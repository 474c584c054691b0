"""Clustered prompts, a normal quantile and Wilson's interval for the tests of intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from varbench.metrics.stats import Interval
from varbench.metrics.stats.rates import wilson_ends

Z = 1.959963984540054


def prompts(count: int, images: int) -> NDArray[np.str_]:
    """Prompt ids, `images` rows for each of `count` prompts."""
    return np.repeat([f"prompt-{index:04d}" for index in range(count)], images)


def wilson(hits: int, n: int) -> Interval:
    """Wilson's interval of `hits` among `n` independent observations."""
    return Interval(hits / n, *wilson_ends(hits / n, n), n, n)
