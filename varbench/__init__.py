"""varbench: concept erasure for next-scale (VAR) text-to-image models, measured.

    import varbench

    frame = varbench.run(model="gallery", methods=["svare"], concepts=["face-ada"], suite="smoke")
    frame[frame.metric == "erasure_rate"][["method", "value", "ci_low", "ci_high"]]

Importing `varbench` imports neither torch nor pandas. Errors that a user can fix are
`varbench.errors.UserError`; the message names the fix.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_images", "load_results", "plan", "run"]


def run(
    model: str = "gallery",
    methods: str | Sequence[str] = "svare",
    concepts: str | Sequence[str] = "face-ada",
    suite: str = "smoke",
    seeds: int | Sequence[int] = 0,
    overrides: Sequence[str] = (),
    store: str | Path = "varbench-runs",
    device: str = "auto",
    *,
    max_failed: float = 0.05,
    quiet: bool = False,
) -> pd.DataFrame:
    """Erase, generate, score and record, as ``varbench run`` does; finished work is reused.

    Args:
        model: name of a model (``varbench list models``).
        methods: names of methods; the base model (``none``) always runs along.
        concepts: names or YAML files; ``"A+B"`` erases both in one edit.
        suite: name of a suite: which prompts and metrics.
        seeds: seeds of the edit.
        overrides: settings ``KEY=VALUE``, such as ``"method.alpha=0.5"``.
        store: folder that keeps all results.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        max_failed: largest share of a group's images that may fail, 0 to 1.
        quiet: show no progress on standard error.

    Returns:
        The records of exactly these cells, with the columns of :func:`load_results`.

    Raises:
        UserError: unknown names, keys or values (before any work), or too many failed images.
        StoreError: the store cannot be written.

    Example:
        >>> frame = varbench.run(methods=["svare", "esd"], seeds=[0, 1], store="runs")
    """
    from varbench.pipeline import launch

    request = launch.make_request(model, methods, concepts, suite, seeds, overrides, device)
    return launch.run_to_frame(request, Path(store), max_failed=max_failed, quiet=quiet)


def plan(
    model: str = "gallery",
    methods: str | Sequence[str] = "svare",
    concepts: str | Sequence[str] = "face-ada",
    suite: str = "smoke",
    seeds: int | Sequence[int] = 0,
    overrides: Sequence[str] = (),
    store: str | Path = "varbench-runs",
    device: str = "auto",
) -> pd.DataFrame:
    """Count the work of :func:`run` with the same arguments; nothing is computed or written.

    Returns:
        One row per stage: ``stage``, ``what`` it consists of, and counts of edits, images, scores
        or cells: ``required``, ``cached`` in the store, ``to_do``. ``cached`` is missing if the
        model's weights are, since nothing can then be looked up.

    Raises:
        UserError: unknown names, keys or values.

    Example:
        >>> varbench.plan(methods=["svare", "esd"], store="runs").set_index("stage").to_do
    """
    from varbench.pipeline import launch

    request = launch.make_request(model, methods, concepts, suite, seeds, overrides, device)
    return launch.plan_to_frame(request, Path(store))


def load_results(path: str | Path, *, superseded: bool = False) -> pd.DataFrame:
    """Recorded results as one tidy DataFrame: a leaderboard's folder, or a store.

    One row per number; see `varbench.leaderboard.records.load_results` for columns and errors.

    Example:
        >>> frame = varbench.load_results("results/leaderboard")
    """
    from varbench.leaderboard import records

    return records.load_results(path, superseded=superseded)


def load_images(path: str | Path) -> pd.DataFrame:
    """The images of a store as one tidy DataFrame, one row per image and score.

    See `varbench.report.image_scores.load_images` for columns and errors.

    Example:
        >>> images = varbench.load_images("varbench-runs")
        >>> images[images.score == "cosine"].groupby("method").value.mean()
    """
    from varbench.report import image_scores

    return image_scores.load_images(path)
