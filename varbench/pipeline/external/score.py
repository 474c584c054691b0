"""Score images that were made elsewhere and record them as cells, like those of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from varbench.conf.schema import plain
from varbench.metrics.record import CELL_SCHEMA
from varbench.pipeline.context import RunContext
from varbench.pipeline.external.images import import_images
from varbench.pipeline.external.job import ImageSet, ScoreJob
from varbench.pipeline.outputs import CellHeader, CellOutputs, finished, look, write_cell
from varbench.pipeline.plan import blocks
from varbench.pipeline.stages.reference import references, statistics_spec
from varbench.store import Entry

VERSION = 1
SOURCE = "pictures made elsewhere"


def score(job: ScoreJob, ctx: RunContext) -> list[Entry]:
    """The cells of a job, made where they are not there; the unerased model's first.

    Raises:
        ImageListError: an image is damaged; nothing has been scored then.
    """
    albums = [job.base] if job.own is None else [job.base, job.own]
    held = [_Held(ctx, album) for album in albums]
    unerased = held[0]
    base: CellOutputs | None = None
    done: list[Entry] = []
    for one in held:
        ctx.progress.label = one.album.cell.method
        told = one.told(job, unerased)
        entry = finished(ctx.store, told.spec)
        if entry is None:
            base = base or unerased.look(None)
            own = base if one is unerased else one.look(base)
            real = references(ctx, one.album.cell)
            entry = write_cell(ctx, one.album.cell, own, base, told, real)
        done.append(entry)
    return done


class _Held:
    """An album whose images are in the store."""

    def __init__(self, ctx: RunContext, album: ImageSet) -> None:
        size = album.cell.config.suite.block
        self.album, self._shop = album, ctx
        rows = [block for some in album.rows.values() for block in blocks(some, size)]
        files = [
            some[start : start + size]
            for some in album.files.values()
            for start in range(0, len(some), size)
        ]
        self.images = import_images(ctx, rows, files)

    def look(self, base: CellOutputs | None) -> CellOutputs:
        rows = {group: list(some) for group, some in self.album.rows.items()}
        return look(self._shop, self.album.cell, rows, self.images, base)

    def told(self, job: ScoreJob, unerased: _Held) -> CellHeader:
        """What its cell says of it."""
        cell = self.album.cell
        config, instruments = plain(cell.config), self._shop.instruments(cell)
        spec: dict[str, Any] = {
            "schema": CELL_SCHEMA,
            "elsewhere": VERSION,
            "model": cell.config.model.name,
            "method": cell.method,
            "suite": config["suite"],
            "concept": cell.concept.digest(),
            "seed": cell.seed,
            "groups": {group: len(rows) for group, rows in self.album.rows.items()},
            "pictures": [entry.key for entry in self.images],
            "base": [entry.key for entry in unerased.images],
            **instruments.spec(),
            **statistics_spec(cell, instruments),
        }
        fields: Mapping[str, Any] = {
            "method_config": None,
            "command": job.offer.command,
            "overrides": [],
            "resolved_config": {"model": {"name": spec["model"]}, "suite": config["suite"]},
        }
        origin: Mapping[str, Any] = {
            "source": SOURCE,
            "list": self.album.sha256,
            "against": unerased.album.sha256 if self is not unerased else None,
            "not_compared": unerased.album.unused,
            "group_from_prompt": job.inferred,
        }
        return CellHeader(spec, fields, origin)
