"""The classifier's most likely label of each head, with its probability."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from varbench.metrics.groups import Array
from varbench.scoring.scorers.images import BATCH, batches, check_input, fingerprint


class JudgeScorer:
    """A classifier with one or more heads; ignores the prompts.

    Args:
        load: returns a module with `labels: Mapping[head, tuple of names]` whose forward maps
            images `[B, 3, H, W]` in [0, 1], of any size, to logits per head,
            `{head: [B, labels]}`; default the Gallery's judge. Called when first needed.
        device: where the network runs.
        batch: images at a time; changes nothing but speed and the last digits.
    """

    id = "judge"
    version = 1

    def __init__(
        self,
        load: Callable[[], Any] | None = None,
        *,
        device: str = "cpu",
        batch: int = BATCH,
    ) -> None:
        self._load = load or _gallery
        self._device, self._batch = torch.device(device), batch

    @cached_property
    def _network(self) -> Any:
        return self._load().to(self._device).eval()

    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """Label names of each head; the stored `h` arrays are indices into them."""
        return {head: tuple(names) for head, names in self._network.labels.items()}

    def fingerprint(self) -> str:
        """Hash of weights and labels."""
        return fingerprint(self._network, self.version, sorted(self.labels.items()))

    @torch.inference_mode()
    def score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        """Per head h: `h` int64 [n], the most likely label, and `h_p` float32 [n], its probability.

        Of equally likely labels the first is taken.
        """
        check_input(files, prompts)
        labels: dict[str, list[Array]] = {head: [] for head in self.labels}
        chances: dict[str, list[Array]] = {head: [] for head in self.labels}
        for images in batches(files, self._batch):
            for head, logits in self._network(images.to(self._device)).items():
                p = logits.double().softmax(dim=-1).cpu().numpy()
                labels[head].append(p.argmax(axis=-1))  # numpy's takes the first of equals
                chances[head].append(p.max(axis=-1))
        arrays: dict[str, Array] = {}
        for head in self.labels:
            arrays[head] = np.concatenate(labels[head]).astype(np.int64)
            arrays[f"{head}_p"] = np.concatenate(chances[head]).astype(np.float32)
        return arrays


def _gallery() -> Any:
    from varbench.scoring.gallery_networks import load_judge

    return load_judge()
