"""The run context: what the stages share in one process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from varbench.conf.schema import plain
from varbench.metrics import METRICS
from varbench.models import registry
from varbench.models.protocol import NextScaleModel
from varbench.models.text.cache import cached_text
from varbench.pipeline import provenance
from varbench.pipeline.plan import Cell
from varbench.scoring.evaluator import Evaluator, ScorerPool
from varbench.store import Store, Writer, digest, failures
from varbench.store.cached import DEVICE
from varbench.utils.progress import Progress


@dataclass
class RunContext:
    """What the stages share in one process: store, progress, and lazily loaded networks.

    `max_failed` is the largest share of a group's images that may fail in a recorded cell.
    """

    store: Store
    progress: Progress
    device: str = "cpu"
    max_failed: float = failures.LIMIT
    _models: dict[str, NextScaleModel] = field(default_factory=dict)
    _instruments: dict[str, Evaluator] = field(default_factory=dict)
    _cupboard: ScorerPool = field(init=False)

    def __post_init__(self) -> None:
        self._cupboard = ScorerPool(self.device)

    def model(self, cell: Cell) -> NextScaleModel:
        """The cell's model, loaded once per configuration."""
        key = digest(plain(cell.config.model))
        if key not in self._models:
            model = self._models[key] = registry.load_model(cell.config.model, self.device)
            if text := cached_text(model):
                text.store = self.store
        return self._models[key]

    def instruments(self, cell: Cell) -> Evaluator:
        """What looks at the cell's images; networks are read when first needed."""
        suite = cell.config.suite
        key = digest({"concept": cell.concept.digest(), "metrics": list(suite.metrics)})
        if key not in self._instruments:
            made = Evaluator(cell.concept, suite.metrics, METRICS, self._cupboard)
            self._instruments[key] = made
        return self._instruments[key]

    @contextmanager
    def write(self, stage: str, spec: Mapping[str, Any]) -> Iterator[Writer]:
        """As of the store, for what is computed here: the entry tells on which device."""
        with self.store.write(stage, spec) as writer:
            writer.meta[DEVICE] = provenance.device_name(self.device)
            yield writer
