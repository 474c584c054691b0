"""Outputs of one model in a cell: stored entries, and the arrays that metrics read from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from varbench.data.groups import TARGET
from varbench.metrics import PROBE, ScoredImages
from varbench.metrics.base import Moments
from varbench.metrics.groups import Array, Key
from varbench.pipeline.plan import Sample
from varbench.store import Entry, digest
from varbench.store.failures import Failed, failed_in, left_in


def image_name(number: int) -> str:
    """The file of an image in its entry."""
    return f"{number:03d}.png"


@dataclass
class StoredGroup:
    """Entries of one prompt group.

    Attributes:
        batches: samples, their images, and what scorers and comparers gave for these, by role.
    """

    batches: list[tuple[list[Sample], Entry, dict[str, Entry]]] = field(default_factory=list)

    @property
    def samples(self) -> list[Sample]:
        """Samples of all batches, with those whose images failed."""
        return [sample for samples, _, _ in self.batches for sample in samples]

    def failed(self) -> dict[Key, Failed]:
        """Images that could not be made or scored, and why."""
        return {
            samples[number].key: Failed(f"{entry.stage}/{entry.key}", reason)
            for samples, images, scores in self.batches
            # Of several reasons the first one counts: the image's.
            for entry in reversed([images, *scores.values()])
            for number, reason in failed_in(entry).items()
        }

    def group(self, without: Collection[Key] = ()) -> ScoredImages:
        """Scores of all images but those that failed, and those `without`."""
        excluded = {*self.failed(), *without}
        chosen, parts = [], []
        for samples, _, scores in self.batches:
            numbers = [i for i, sample in enumerate(samples) if sample.key not in excluded]
            chosen += [samples[i] for i in numbers]
            parts.append({r: _rows(entry, len(samples), numbers) for r, entry in scores.items()})
        arrays = {role: joined([part[role] for part in parts]) for role in (parts or [{}])[0]}
        return ScoredImages([s.prompt for s in chosen], [s.seed for s in chosen], arrays)

    def files(self) -> dict[Key, tuple[Entry, str]]:
        """Entry and file of each image that was made."""
        return {
            samples[number].key: (images, image_name(number))
            for samples, images, _ in self.batches
            for number in left_in(images, len(samples))
        }


def _rows(entry: Entry, count: int, numbers: Sequence[int]) -> dict[str, Any]:
    """The rows of some images of a batch, of `count`, in an entry of scores."""
    place = {number: row for row, number in enumerate(left_in(entry, count))}
    index = np.array([place[number] for number in numbers], np.int64)
    return {name: array[index] for name, array in entry.arrays("scores.npz").items()}


def joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Arrays of several batches as one; a batch of which nothing is left has none."""
    parts = [part for part in parts if part]
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts or [{}])[0]}


def probe_groups(
    samples: Mapping[str, Sequence[Sample]], predictions: Sequence[Entry]
) -> dict[str, ScoredImages]:
    """The probe's arrays by prompt group, as metrics read them.

    Args:
        samples: probed prompts of each group.
        predictions: entries by batch over all groups; none where a method changes sampling only.
    """
    if not predictions:
        return {}
    arrays = joined([entry.arrays("probe.npz") for entry in predictions])
    groups, start = {}, 0
    for name, probed in samples.items():
        end = start + len(probed)
        values = {PROBE: {key: array[start:end] for key, array in arrays.items()}}
        prompts, seeds = [s.prompt for s in probed], [s.seed for s in probed]
        groups[name], start = ScoredImages(prompts, seeds, values), end
    return groups


@dataclass(frozen=True)
class CellOutputs:
    """Everything that one model gave in a cell.

    Attributes:
        edit: the change of its weights; None for the base model and changed sampling.
        stored: images and scores by prompt group.
        entries: everything that values are computed from.
        probe: predictions besides the images, by prompt group.
        attacks: images of attempts to get the concept back, by group.
        aliases: groups of attempts whose images are some samples of another group, which is named.
        reference: features of real images, or their moments, by prompt group.
    """

    edit: Entry | None
    stored: Mapping[str, StoredGroup]
    entries: Sequence[Entry]
    probe: Mapping[str, ScoredImages] = field(default_factory=dict)
    attacks: Mapping[str, StoredGroup] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, list[Sample]]] = field(default_factory=dict)
    reference: Mapping[str, Array | Moments] = field(default_factory=dict)

    def groups(self) -> dict[str, ScoredImages]:
        """Scores by prompt group."""
        return {name: stored.group() for name, stored in self.stored.items()}

    def all_groups(self, lost: Mapping[str, Mapping[Key, Failed]]) -> dict[str, ScoredImages]:
        """Scores by prompt group, and those of attacked and completed images.

        Args:
            lost: images to leave out of each group.
        """
        plain = self.groups()
        attacked = {name: s.group(lost.get(name, ())) for name, s in self.attacks.items()}
        aliases = {
            name: plain[source].at(
                sample.key for sample in samples if sample.key not in lost.get(name, ())
            )
            for name, (source, samples) in self.aliases.items()
        }
        return plain | attacked | aliases

    def all_stored(self) -> dict[str, StoredGroup]:
        """Stored groups, those of attacks after the plain ones."""
        return {**self.stored, **self.attacks}

    def attacked_samples(self) -> dict[str, list[Sample]]:
        """Samples of each group of attempts, with those whose images failed."""
        samples = {name: samples for name, (_, samples) in self.aliases.items()}
        return samples | {name: group.samples for name, group in self.attacks.items()}

    def failed(self) -> dict[str, dict[Key, Failed]]:
        """Images that failed, by group; also of groups without any."""
        return {name: stored.failed() for name, stored in self.all_stored().items()}

    def tokens_lost(self) -> dict[str, int]:
        """Tokens of a prompt that were not read, by prompt id; empty if all were read whole."""
        lost: dict[str, int] = {}
        for stored in self.stored.values():
            for _, images, _ in stored.batches:
                lost |= images.meta["tokens_lost"]
        return lost


def inputs_of(outputs: CellOutputs, base: CellOutputs) -> list[Entry]:
    """All entries that a cell is computed from, each once."""
    return list({entry.name: entry for entry in (*outputs.entries, *base.entries)}.values())


def prompts_read(samples: Mapping[str, Sequence[Sample]]) -> dict[str, str]:
    """The digest of the prompts and labels of a cell; its spec has only the names of their sets."""
    rows = {
        group: [[sample.prompt.text, dict(sample.prompt.labels), sample.seed] for sample in each]
        for group, each in samples.items()
    }
    return {"prompts": digest(rows)}


def lost_in(outputs: CellOutputs, base: CellOutputs) -> dict[str, dict[Key, Failed]]:
    """Images missing from either model, by group.

    An attacked image is compared with those of the same prompt and seed that nothing, or something
    else, was tried on: it counts as lost if any of these is.
    """
    failed, base_failed = outputs.failed(), base.failed()
    attacked = base.attacked_samples() | outputs.attacked_samples()
    names = sorted({*failed, *base_failed, *attacked})
    lost = {name: {**base_failed.get(name, {}), **failed.get(name, {})} for name in names}
    if attacked:
        linked = {k: why for name in (TARGET, *sorted(attacked)) for k, why in lost[name].items()}
        keys = {sample.key for samples in attacked.values() for sample in samples}
        shared = {key: why for key, why in linked.items() if key in keys}
        lost |= {name: shared for name in attacked}
    return lost
