"""Interface of erasure methods: ``erase(model, concept, config, context) -> Edit``, or a Guidance.

A method is one module with a frozen dataclass ``Config`` and a class that has the attributes of
:class:`Method` (it changes weights) or :class:`SamplingMethod` (it changes sampling only); one
line in ``registry.py`` (or a plugin's entry point) makes it known by name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from varbench.data.concept import EraseTarget
from varbench.errors import CheckpointError
from varbench.models.protocol import Guidance, NextScaleModel
from varbench.utils.progress import Progress


@dataclass(frozen=True)
class Edit:
    """An erased model as its changed tensors.

    Attributes:
        tensors: state-dict name -> new value; empty for the base model.
        log: one dictionary of plain numbers per logged step.
        notes: other plain values worth recording.
    """

    tensors: Mapping[str, Tensor]
    log: Sequence[Mapping[str, Any]] = field(default_factory=list)
    notes: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the changed tensors as safetensors, readable to others as the umask says."""
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.tensors.items()}
        path.write_bytes(save(tensors))  # `save_file` makes files that only their owner can read

    @staticmethod
    def load(path: Path) -> Edit:
        """Read what :meth:`save` wrote."""
        return Edit(load_file(path))


@contextlib.contextmanager
def applied(model: NextScaleModel, edit: Edit | None) -> Iterator[NextScaleModel]:
    """The model with an edit applied; the original weights are restored afterwards.

    They are kept in host memory: the device may have no room for a second copy of them.

    Raises:
        CheckpointError: the edit has a tensor that the model lacks, or has in another shape.
    """
    weights = model.weights().state_dict()
    changed = dict(edit.tensors) if edit is not None else {}
    unknown = sorted(set(changed) - set(weights))
    if unknown:
        raise CheckpointError(
            f"the edit changes tensors that {model.name} lacks: {', '.join(unknown[:5])}; it was "
            "made for another model"
        )
    for name, value in changed.items():
        if value.shape != weights[name].shape:
            shapes = f"{list(value.shape)} instead of {list(weights[name].shape)}"
            raise CheckpointError(f"{name} of the edit is {shapes}; it was made for another model")
    before = {name: weights[name].to("cpu", copy=True) for name in changed}
    try:
        with torch.no_grad():
            for name, value in changed.items():
                weights[name].copy_(value)
        yield model
    finally:
        with torch.no_grad():
            for name, value in before.items():
                weights[name].copy_(value)


@dataclass(frozen=True)
class TrainingContext:
    """Seed, scratch file and progress display of one erasure.

    Attributes:
        seed: the edit's seed.
        scratch: file that a long training may write checkpoints to and resume from.
        progress: display for the user.
    """

    seed: int
    scratch: Path
    progress: Progress


@runtime_checkable
class Method(Protocol):
    """An erasure method that changes weights.

    Attributes:
        id: name on the command line.
        version: counts up when the same config gives different weights.
        Config: frozen dataclass of its settings, all with defaults.

    A method whose edit does not depend on the seed says so with ``seeded = False``.
    """

    id: str
    version: int
    Config: type[Any]

    def erase(
        self, model: NextScaleModel, concept: EraseTarget, config: Any, context: TrainingContext
    ) -> Edit:
        """The edit that erases the concept; the model has its original weights afterwards."""
        ...


@runtime_checkable
class SamplingMethod(Protocol):
    """An erasure method that changes how images are sampled, and no weight.

    Attributes:
        id, version, Config: as in :class:`Method`.
    """

    id: str
    version: int
    Config: type[Any]

    def guidance(
        self, model: NextScaleModel, concept: EraseTarget, config: Any, weight: float
    ) -> Guidance:
        """The guidance that replaces the model's own and combines the branches of every scale.

        Args:
            model: unedited.
            concept: the concept to keep out of the images.
            config: the method's settings.
            weight: the guidance weight that the model is sampled with.
        """
        ...
