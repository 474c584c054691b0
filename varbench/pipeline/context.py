"""The run context: the store, progress and loaded networks that the stages of a process share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cached_property

import torch

from varbench.conf.schema import plain
from varbench.errors import UserError
from varbench.methods.base import Edit, SamplingMethod, applied
from varbench.methods.registry import NONE, load_method
from varbench.metrics import METRICS
from varbench.models import registry
from varbench.models.protocol import Guidance, NextScaleModel
from varbench.models.text.cache import cached_text
from varbench.models.weights import locate
from varbench.models.weights.released import ReleasedConfig
from varbench.pipeline.plan import Cell
from varbench.scoring.base import Comparer, Scorer
from varbench.scoring.evaluator import Evaluator, ScorerPool
from varbench.store import Entry, Store, digest, failures
from varbench.utils.devices import threads
from varbench.utils.progress import Progress

EDIT_FILE = "edit.safetensors"
UNKNOWN = "unknown"
"""Stands for the fingerprint of files that are missing, in the keys of a dry run."""


@dataclass
class RunContext:
    """State that stages share in one process; networks are loaded when first needed.

    Attributes:
        store, progress, device: where entries are, what the user sees, where tensors are.
        max_failed: largest share of a group's images that may fail in a recorded cell.
        dry_run: nothing is computed, so missing weights are no error; keys that depend on them
            are placeholders, which no store has.
    """

    store: Store
    progress: Progress = field(default_factory=Progress)
    device: str = "cpu"
    max_failed: float = failures.LIMIT
    dry_run: bool = False
    _models: dict[str, NextScaleModel] = field(default_factory=dict)
    _evaluators: dict[str, Evaluator] = field(default_factory=dict)
    _applied: tuple[str, str] | None = None  # configuration of a model, key of its edit
    _weights: ExitStack = field(default_factory=ExitStack)  # puts the base weights back
    _guidance: tuple[str, Guidance] | None = None
    _identities: dict[int, tuple[int, str]] = field(default_factory=dict)  # by id of a network

    @cached_property
    def _pool(self) -> ScorerPool:
        return ScorerPool(self.device)

    def model(self, cell: Cell, edit: Entry | None = None) -> NextScaleModel:
        """The cell's model with an edit's weights, or its own without one.

        An edit stays in place until a model with other weights is asked for, so work on one edit
        swaps weights once.
        """
        key, model = self._loaded(cell)
        state = (key, edit.key) if edit else None
        if state != self._applied:
            self._weights.close()
            self._applied = None
            if edit:
                self._weights.enter_context(applied(model, Edit.load(edit.path(EDIT_FILE))))
            self._applied = state
        return model

    def prepare_text(self, cell: Cell, prompts: Sequence[str]) -> None:
        """Store the text features of prompts, with one reading of the model's text encoders."""
        if text := cached_text(self._loaded(cell)[1]):
            text.prepare(prompts)

    def _loaded(self, cell: Cell) -> tuple[str, NextScaleModel]:
        """The model, whatever its weights, and the digest of its configuration."""
        key = digest(plain(cell.config.model))
        if key not in self._models:
            model = self._models[key] = registry.load_model(cell.config.model, self.device)
            if text := cached_text(model):
                text.store = self.store
        return key, self._models[key]

    def guidance(self, cell: Cell, model: NextScaleModel) -> Guidance:
        """Guidance of the cell's images: the method's, else the model's own."""
        weight = cell.config.model.sampling.guidance
        method = None if cell.method == NONE else load_method(cell.method)
        if not isinstance(method, SamplingMethod):
            return model.guidance(weight)
        settings = [plain(cell.config.model), plain(cell.config.method), cell.erased.digest()]
        key = digest([cell.method, *settings])
        if self._guidance is None or self._guidance[0] != key:
            made = method.guidance(model, cell.erased, cell.config.method, weight)
            self._guidance = key, made
        return self._guidance[1]

    def evaluator(self, cell: Cell) -> Evaluator:
        """The scorers, judge and metrics of the cell's concept."""
        suite = cell.config.suite
        key = digest({"concept": cell.concept.digest(), "metrics": list(suite.metrics)})
        if key not in self._evaluators:
            made = Evaluator(cell.concept, suite.metrics, METRICS, self._pool)
            self._evaluators[key] = made
        return self._evaluators[key]

    def fingerprint(self, cell: Cell) -> str:
        """Fingerprint of the cell's model; a dry run fetches no missing files.

        Raises:
            UserError: the model's files are missing, and this is no dry run.
        """
        config = cell.config.model
        parts = locate.find(config) if self.dry_run and isinstance(config, ReleasedConfig) else ()
        if any(part.missing for part in parts):
            return UNKNOWN
        return self._or_unknown(lambda: registry.fingerprint(config))

    def identity(self, network: Scorer | Comparer) -> tuple[int, str]:
        """Version and fingerprint of a scorer or comparer; raises as `fingerprint`."""
        if id(network) not in self._identities:
            fingerprint = self._or_unknown(network.fingerprint)
            self._identities[id(network)] = network.version, fingerprint
        return self._identities[id(network)]

    def _or_unknown(self, fingerprint: Callable[[], str]) -> str:
        try:
            return fingerprint()
        except UserError:
            if not self.dry_run:
                raise
            return UNKNOWN

    def offers(self, cell: Cell, capability: type) -> bool:
        """True if the cell's model has a capability; only an undeclared class has to be loaded."""
        declared = registry.offers(cell.config.model, capability)
        if declared is not None:
            return declared
        return self.dry_run or isinstance(self.model(cell), capability)


def deterministic_threads(cell: Cell) -> AbstractContextManager[None]:
    """One thread in strict mode: how a sum is split over threads changes its rounding."""
    return threads(1 if cell.config.model.strict else torch.get_num_threads())
