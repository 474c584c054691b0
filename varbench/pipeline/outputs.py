"""Images with what scorers saw in them, and the cell that metrics make of them.

A run makes its images (``bench.py``), other images come from a folder (``elsewhere.py``); from
here on there is no difference between them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from varbench.data.groups import TARGET
from varbench.metrics import MetricInputs, MetricValue, ScoredImages, concept_hits
from varbench.metrics.base import Key
from varbench.metrics.record import CELL_SCHEMA, MetricRecord
from varbench.metrics.stats.paired_samples import write_rows
from varbench.pipeline import provenance
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Cell, Sample, blocks, concept_text
from varbench.pipeline.stages import generate
from varbench.pipeline.stages.attack import AttackOutputs
from varbench.pipeline.stages.compare import compare
from varbench.pipeline.stages.probe import ProbeOutputs
from varbench.pipeline.stored_group import StoredGroup
from varbench.scoring.evaluator import judged
from varbench.store import Entry, Store
from varbench.store.cached import DEVICE
from varbench.store.failures import Failed, check_share, note_cell
from varbench.store.sequence import next_sequence


@dataclass(frozen=True)
class CellOutputs:
    """What there is of one model.

    Attributes:
        edit: what changed its weights; None where nothing did.
        series: its images and what was seen in them, by group.
        probed: what it predicts, besides the images.
        tried: images in which it was tried to get the concept back.
    """

    edit: Entry | None
    series: Mapping[str, StoredGroup]
    probed: ProbeOutputs
    tried: AttackOutputs = field(default_factory=AttackOutputs)

    def groups(self) -> dict[str, ScoredImages]:
        """What scorers saw."""
        return {name: one.group() for name, one in self.series.items()}

    def all_groups(self, lost: Mapping[str, Mapping[Key, Failed]]) -> dict[str, ScoredImages]:
        """The same, and what the judge's scorers saw where something was tried.

        Args:
            lost: images to leave out of each group.
        """
        plain = self.groups()
        tried = {name: one.group(lost.get(name, ())) for name, one in self.tried.series.items()}
        same = {
            name: plain[of].at(k for k in generate.keys_of(rows) if k not in lost.get(name, ()))
            for name, (of, rows) in self.tried.same.items()
        }
        return plain | tried | same

    def failed(self) -> dict[str, dict[Key, Failed]]:
        """Images that failed, by group; with all groups, also those without any."""
        return {name: one.failed() for name, one in {**self.series, **self.tried.series}.items()}

    def tokens_lost(self) -> dict[str, int]:
        """Tokens that a prompt was too long by, by prompt id; empty if all were read whole."""
        lost: dict[str, int] = {}
        for one in self.series.values():
            for entry in one.images:
                lost |= entry.meta["tokens_lost"]
        return lost

    def entries(self) -> list[Entry]:
        """Everything that values were computed from."""
        entries = [e for one in self.series.values() for e in one.entries()]
        entries += [*self.probed.entries(), *self.tried.entries()]
        return entries + ([self.edit] if self.edit else [])

    def keys(self) -> list[str]:
        """Their keys, with the stage."""
        return [f"{e.stage}/{e.key}" for e in self.entries()]

    def device(self) -> str:
        """What computed them; several where the work was spread over unlike ones, or moved."""
        told = (entry.meta.get(DEVICE) for entry in self.entries())
        return " and ".join(sorted({name for name in told if name}))


@dataclass(frozen=True)
class CellHeader:
    """What a cell says of how its images came to be.

    Attributes:
        spec: what decides the cell's content.
        fields: of ``cell.json``, besides those that all cells have.
        origin: of its provenance, likewise.
    """

    spec: Mapping[str, Any]
    fields: Mapping[str, Any]
    origin: Mapping[str, Any]


def look(
    ctx: RunContext,
    cell: Cell,
    rows: Mapping[str, list[Sample]],
    images: Sequence[Entry],
    base: CellOutputs | None,
    *,
    edit: Entry | None = None,
    probed: ProbeOutputs | None = None,
    tried: AttackOutputs | None = None,
) -> CellOutputs:
    """Score and compare images, where the store has no scores yet.

    Args:
        shop: the place of work.
        cell: whose instruments look.
        rows: of each group.
        images: by block over all groups.
        base: the unerased model's, of the same rows; None if the images are that model's.
        edit, probed, tried: of the model.
    """
    instruments = ctx.instruments(cell)
    todo = {name: list(blocks(some, cell.config.suite.block)) for name, some in rows.items()}
    flat = [block for group in todo.values() for block in group]
    scores = generate.score(ctx, instruments.scorers, images, flat)
    unerased = [e for name in todo for e in base.series[name].images] if base else images
    compared = compare(ctx, instruments.comparers, flat, images, unerased)
    seen = [{**one, **two} for one, two in zip(scores, compared, strict=True)]
    made = zip(flat, images, seen, strict=True)
    series = {name: StoredGroup() for name in todo}
    for name, some in todo.items():
        for block in islice(made, len(some)):
            series[name].add(*block)
    return CellOutputs(edit, series, probed or ProbeOutputs(), tried or AttackOutputs())


def lost_in(own: CellOutputs, base: CellOutputs) -> dict[str, dict[Key, Failed]]:
    """Images that one model or the other lacks, by group.

    Where something was tried, an image is compared with those of the same prompt and image seed
    that nothing, or something else, was tried on: it counts as lost if any of these is.
    """
    sides = (own.failed(), base.failed())
    names = {*sides[0], *sides[1], *own.tried.same, *base.tried.same}
    lost = {name: {**sides[1].get(name, {}), **sides[0].get(name, {})} for name in sorted(names)}
    tried = {name for one in (own, base) for name in (*one.tried.series, *one.tried.same)}
    if tried:
        linked = {key: why for name in (TARGET, *sorted(tried)) for key, why in lost[name].items()}
        asked = {key for name in tried for key in _asked(own, base, name)}
        both = {key: why for key, why in linked.items() if key in asked}
        lost |= dict.fromkeys(tried, both)
    return lost


def _asked(own: CellOutputs, base: CellOutputs, name: str) -> list[Key]:
    """The keys of a group in which something was tried."""
    for one in (own, base):
        if name in one.tried.series:
            return generate.keys_of(one.tried.series[name].rows)
    return generate.keys_of(base.tried.same[name][1])


def finished(store: Store, spec: Mapping[str, Any]) -> Entry | None:
    """A cell's entry, if it and everything it was computed from is there and undamaged."""
    entry = store.get("cell", spec)
    if entry is None:
        return None
    for key in entry.json("cell.json")["inputs"]:
        stage, _, digest = key.partition("/")
        if store.find(stage, digest) is None:
            return None
    return entry


def write_cell(
    ctx: RunContext,
    cell: Cell,
    own: CellOutputs,
    base: CellOutputs,
    told: CellHeader,
    reference: Mapping[str, Any] | None,
) -> Entry:
    """Compute all metrics of a cell and write its entry.

    Args:
        shop: the place of work.
        cell: what is recorded.
        own: its images.
        base: the unerased model's; `own` itself for that model.
        told: what the cell says of its images.
        reference: features of real images by group, where there are any (``reference.py``).
    """
    lost = lost_in(own, base)
    sizes = {name: len(one.rows) for name, one in {**own.series, **own.tried.series}.items()}
    check_share({name: list(lost[name].values()) for name in sizes}, sizes, ctx.max_failed)
    instruments = ctx.instruments(cell)
    judge = instruments.judge_of(base.groups())
    evidence = MetricInputs(
        concept=cell.concept,
        judge_labels=judge.labels,
        method=judged(own.all_groups(lost), judge),
        base=judged(base.all_groups(lost), judge),
        reference=reference or {},
        method_probe=own.probed.groups(),
        base_probe=base.probed.groups(),
    )
    found_by: dict[str, MetricValue] = {}
    failed_by: dict[str, int] = {}
    for id, metric in instruments.metrics.items():
        asked = replace(evidence, asked=set())
        found_by[id] = metric.compute(asked)
        failed_by[id] = len({key for name in asked.asked for key in lost.get(name, ())})
    looked = instruments.spec()
    content = {
        "schema": CELL_SCHEMA,
        "model": cell.config.model.name,
        "embedded": cell.config.model.embedded,
        "method": cell.method,
        "config": cell.config_hash(),
        "concept": cell.label,
        "erased": cell.erased.name,
        "concept_file": concept_text(cell),
        "family": cell.concept.family,
        "suite": cell.config.suite.name,
        "seed": cell.seed,
        **told.fields,
        "provenance": {
            **told.origin,
            "scorers": looked["scorers"],
            "comparers": looked["comparers"],
            "judge": [cell.concept.judge.name, *looked["judge"]],
            "concept": cell.concept.digest(),
            "versions": provenance.versions(),
            "plugins": provenance.plugins(cell),
            "commit": provenance.commit(),
            "device": own.device() or provenance.device_name(ctx.device),
        },
        "records": [record.for_cell() for record in _records(cell, found_by, failed_by)],
        "pictures": _image_list(own, evidence),
        "failed": _failed_list(own),
        "inputs": list(dict.fromkeys([*own.keys(), *base.keys()])),
    }
    text = json.dumps(content, indent=1, allow_nan=False)
    _drop_other(ctx.store, told.spec, json.loads(text))
    with ctx.store.write("cell", told.spec) as writer:
        (writer.dir / "cell.json").write_text(text)
        rows = {id: found.rows for id, found in found_by.items() if found.rows is not None}
        write_rows(writer.dir / "rows.npz", rows)
        note_cell(writer, lost)
        writer.meta |= next_sequence(ctx.store, "cell")
    assert writer.entry is not None
    return writer.entry


def _drop_other(store: Store, spec: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Remove a cell of images that were lost since and made again, elsewhere, with other bits.

    One that says the same, such as of another run into this store at the same time, stays.
    """
    entry = store.get("cell", spec)
    if entry is None:
        return
    before = entry.json("cell.json")
    devices = [one["provenance"]["device"] for one in (before, content)]
    if devices[0] != devices[1] or any(before[n] != content[n] for n in ("records", "pictures")):
        store.remove(entry)


def _records(
    cell: Cell, values: Mapping[str, MetricValue], n_failed: Mapping[str, int]
) -> Iterator[MetricRecord]:
    """The records of a cell's values, by metric."""
    suite = cell.config.suite.name
    for metric, value in values.items():
        yield MetricRecord.of_value(
            value,
            n_failed[metric],
            model=cell.config.model.name,
            method=cell.method,
            config=cell.config_hash(),
            concept=cell.label,
            suite=suite,
            prompt_set=suite,
            metric=metric,
            seed=cell.seed,
        )


def _image_list(own: CellOutputs, evidence: MetricInputs) -> dict[str, list[dict[str, Any]]]:
    listed: dict[str, list[dict[str, Any]]] = {}
    for name, one in {**own.series, **own.tried.series}.items():
        group, files = evidence.method[name], one.files()
        hits = concept_hits(group, evidence.concept, evidence.judge_labels)
        listed[name] = [
            _shown(prompt.text, key, *files[key], hit=bool(hit))
            for key, prompt, hit in zip(group.keys(), group.prompts, hits, strict=True)
        ]
    return listed


def _shown(prompt: str, key: Key, entry: Entry, file: str, *, hit: bool) -> dict[str, Any]:
    told = {"prompt": prompt, "prompt_id": key[0], "seed": key[1]}
    return {**told, "stage": entry.stage, "key": entry.key, "file": file, "hit": hit}


def _failed_list(own: CellOutputs) -> dict[str, list[dict[str, Any]]]:
    """Images of the model that failed, by group."""
    return {
        name: [
            {"prompt_id": prompt, "seed": seed, "entry": why.entry, "reason": why.reason}
            for (prompt, seed), why in lost.items()
        ]
        for name, lost in own.failed().items()
        if lost
    }
