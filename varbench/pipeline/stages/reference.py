"""Real images that a cell is compared with, by prompt group, as the role `features` sees them.

A model with a world of its own has renders of the same prompts, made and scored like any image. A
group whose prompt set is published together with statistics of the images that it describes
(`coco-30k` and `coco-30k-statistics`) has these, once they are in the data folder: they are
Inception's, so only the standard instruments can use them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping

import numpy as np

from varbench.data.groups import KEPT
from varbench.data.published import PromptSetAsset, known, local_path, problem
from varbench.errors import UserError
from varbench.metrics.base import Array, Moments
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Cell, blocks
from varbench.pipeline.stages import generate
from varbench.pipeline.stored_group import StoredGroup
from varbench.scoring.evaluator import Evaluator
from varbench.store.hashing import sha256

FEATURES = "features"
_SET = "standard"  # whose features the published statistics are of


def references(ctx: RunContext, cell: Cell) -> dict[str, Array | Moments]:
    """Feature rows [r, d] of real images, or their moments, by group name.

    Raises:
        UserError: published statistics are damaged.
    """
    instruments = ctx.instruments(cell)
    return {**_renders(ctx, cell, instruments), **statistics(cell, instruments)}


def statistics(cell: Cell, instruments: Evaluator) -> dict[str, Moments]:
    """Published moments of the features of real images, by group; also for folders of images.

    Raises:
        UserError: they are damaged.
    """
    return {group: _read(one) for group, one in _published(cell, instruments).items()}


def statistics_spec(cell: Cell, instruments: Evaluator) -> dict[str, dict[str, str]]:
    """What of these decides a cell's content besides what else does: the statistics' checksums.

    Raises:
        UserError: published statistics are damaged.
    """
    published = _published(cell, instruments)
    found = {group: sha256(local_path(one)) for group, one in published.items()}
    return {"statistics": found} if found else {}


def _renders(ctx: RunContext, cell: Cell, instruments: Evaluator) -> dict[str, Array]:
    if FEATURES not in instruments.scorers:
        return {}
    only, rows = {FEATURES: instruments.scorers[FEATURES]}, cell.groups()
    found: dict[str, Array] = {}
    for name in KEPT:
        todo = list(blocks(rows.get(name, []), cell.config.suite.block))
        if images := generate.reference(ctx, cell, todo):
            scores = generate.score(ctx, only, images, todo)
            found[name] = StoredGroup(todo, images, scores).group().array(FEATURES, FEATURES)
    return found


def _published(cell: Cell, instruments: Evaluator) -> Mapping[str, PromptSetAsset]:
    """The published statistics that are here, by group."""
    if instruments.judge_spec.network_set != _SET or FEATURES not in instruments.scorers:
        return {}
    found = {}
    for group, size in cell.config.suite.groups.items():
        one = known().get(f"{size.set}-statistics")
        if one is not None and one.format == "statistics" and local_path(one).is_file():
            if wrong := problem(one):
                raise UserError(f"{local_path(one)}: {wrong}; run `varbench fetch {one.name}`")
            found[group] = one
    return found


def _read(published: PromptSetAsset) -> Moments:
    """Moments as clean-fid's `make_custom_stats` writes them."""
    path = local_path(published)
    described = known().get(published.name.removesuffix("-statistics"))
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean, covariance = (np.asarray(arrays[key], np.float64) for key in ("mu", "sigma"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} holds no arrays mu and sigma ({error}); run `varbench fetch {published.name}`"
        ) from error
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape:
        raise UserError(
            f"{path}: mu {list(mean.shape)} and sigma {list(covariance.shape)} do not fit; run "
            f"`varbench fetch {published.name}`"
        )
    return Moments(mean, covariance, described.rows if described else None)
