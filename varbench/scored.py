"""Pictures with what scorers saw in them, and the cell that metrics make of them.

A run makes its pictures (``bench.py``), other pictures come from a folder (``elsewhere.py``); from
here on there is no difference between them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from varbench import provenance, stages
from varbench.comparisons import compare
from varbench.metrics import Evidence, Group, MetricValue, concept_hits, judged
from varbench.plan import Cell, Row, blocks, concept_text
from varbench.probes import Probed
from varbench.robustness import Robustness
from varbench.rows import write_rows
from varbench.stages import Workshop
from varbench.store import Entry, Store

SCHEMA = 1


@dataclass(frozen=True)
class Scored:
    """Pictures and scores of one model, group by group; entries in block order.

    Attributes:
        edit: what changed its weights; None where nothing did.
        probed: what it predicts, besides the pictures.
        tried: pictures in which it was tried to get the concept back.
    """

    edit: Entry | None
    rows: Mapping[str, list[Row]]
    pictures: Mapping[str, list[Entry]]
    scores: Mapping[str, list[dict[str, Entry]]]
    probed: Probed
    tried: Robustness = field(default_factory=Robustness)

    def groups(self) -> dict[str, Group]:
        """What scorers saw."""
        return _groups(self.rows, self.scores)

    def all_groups(self) -> dict[str, Group]:
        """The same, and what the judge's scorers saw where something was tried."""
        plain = self.groups()
        same = {
            name: plain[of].at(stages.keys_of(rows)) for name, (of, rows) in self.tried.same.items()
        }
        return plain | _groups(self.tried.rows, self.tried.scores) | same

    def tokens_lost(self) -> dict[str, int]:
        """Tokens that a prompt was too long by, by prompt id; empty if all were read whole."""
        lost: dict[str, int] = {}
        for group in self.pictures.values():
            for entry in group:
                lost |= entry.meta["tokens_lost"]
        return lost

    def keys(self) -> list[str]:
        """Keys of everything that values were computed from."""
        entries = [e for group in self.pictures.values() for e in group]
        entries += [e for group in self.scores.values() for block in group for e in block.values()]
        entries += [*self.probed.entries(), *self.tried.entries()]
        entries += [self.edit] if self.edit else []
        return [f"{e.stage}/{e.key}" for e in entries]


@dataclass(frozen=True)
class Told:
    """What a cell says of how its pictures came to be.

    Attributes:
        spec: what decides the cell's content.
        fields: of ``cell.json``, besides those that all cells have.
        origin: of its provenance, likewise.
    """

    spec: Mapping[str, Any]
    fields: Mapping[str, Any]
    origin: Mapping[str, Any]


def look(
    shop: Workshop,
    cell: Cell,
    rows: Mapping[str, list[Row]],
    pictures: Sequence[Entry],
    base: Scored | None,
    *,
    edit: Entry | None = None,
    probed: Probed | None = None,
    tried: Robustness | None = None,
) -> Scored:
    """Score and compare pictures, where the store has no scores yet.

    Args:
        shop: the place of work.
        cell: whose instruments look.
        rows: of each group.
        pictures: by block over all groups.
        base: the unerased model's, of the same rows; None if the pictures are that model's.
        edit, probed, tried: of the model.
    """
    instruments = shop.instruments(cell)
    todo = {name: list(blocks(some, cell.config.suite.block)) for name, some in rows.items()}
    flat = [block for group in todo.values() for block in group]
    scores = stages.score(shop, instruments.scorers, pictures, flat)
    unerased = [entry for name in todo for entry in base.pictures[name]] if base else pictures
    compared = compare(shop, instruments.comparers, flat, pictures, unerased)
    seen = [{**one, **two} for one, two in zip(scores, compared, strict=True)]
    sizes = [len(group) for group in todo.values()]
    return Scored(
        edit,
        rows,
        dict(zip(todo, _split(pictures, sizes), strict=True)),
        dict(zip(todo, _split(seen, sizes), strict=True)),
        probed or Probed(),
        tried or Robustness(),
    )


def _groups(
    rows_of: Mapping[str, list[Row]], scores: Mapping[str, list[dict[str, Entry]]]
) -> dict[str, Group]:
    return {
        name: Group([r.prompt for r in rows], [r.seed for r in rows], stack(scores[name]))
        for name, rows in rows_of.items()
    }


def _split(items: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    out, start = [], 0
    for size in sizes:
        out.append(list(items[start : start + size]))
        start += size
    return out


def stack(per_block: Sequence[Mapping[str, Entry]]) -> dict[str, dict[str, Any]]:
    """Stored arrays of several blocks as one, by role and name."""
    loaded: dict[str, list[dict[str, Any]]] = {}
    for block in per_block:
        for name, entry in block.items():
            with np.load(entry.path("scores.npz"), allow_pickle=False) as arrays:
                loaded.setdefault(name, []).append(dict(arrays))
    return {
        name: {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
        for name, parts in loaded.items()
    }


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
    shop: Workshop,
    cell: Cell,
    own: Scored,
    base: Scored,
    told: Told,
    reference: Mapping[str, Any] | None,
) -> Entry:
    """Compute all metrics of a cell and write its entry.

    Args:
        shop: the place of work.
        cell: what is recorded.
        own: its pictures.
        base: the unerased model's; `own` itself for that model.
        told: what the cell says of its pictures.
        reference: features of real pictures by group, where there are any (``reference.py``).
    """
    instruments = shop.instruments(cell)
    judge = instruments.judge_of(base.groups())
    evidence = Evidence(
        concept=cell.concept,
        judge_labels=judge.labels,
        method=judged(own.all_groups(), judge),
        base=judged(base.all_groups(), judge),
        reference=reference or {},
        method_probe=own.probed.groups(),
        base_probe=base.probed.groups(),
    )
    found_by = {id: metric.compute(evidence) for id, metric in instruments.metrics.items()}
    looked = instruments.spec()
    content = {
        "schema": SCHEMA,
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
            "device": provenance.device_name(shop.device),
        },
        "records": list(_records(cell, found_by)),
        "pictures": _picture_list(own, evidence),
        "inputs": list(dict.fromkeys([*own.keys(), *base.keys()])),
    }
    with shop.store.write("cell", told.spec) as writer:
        (writer.dir / "cell.json").write_text(json.dumps(content, indent=1, allow_nan=False))
        rows = {id: found.rows for id, found in found_by.items() if found.rows is not None}
        write_rows(writer.dir / "rows.npz", rows)
    assert writer.entry is not None
    return writer.entry


def _records(cell: Cell, found_by: Mapping[str, MetricValue]) -> Iterator[dict[str, Any]]:
    for id, found in found_by.items():
        d = found.difference
        yield {
            "model": cell.config.model.name,
            "method": cell.method,
            "config": cell.config_hash(),
            "concept": cell.label,
            "suite": cell.config.suite.name,
            "prompt_set": cell.config.suite.name,
            "metric": id,
            "seed": cell.seed,
            "value": found.value,
            "ci_low": found.low,
            "ci_high": found.high,
            "n": found.n,
            "n_failed": 0,
            "baseline": found.baseline,
            "status": "measured",
            "difference": None if d is None else {"value": d.value, "low": d.low, "high": d.high},
            "note": found.note,
            "details": dict(found.details),
        }


def _picture_list(own: Scored, evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    listed: dict[str, list[dict[str, Any]]] = {}
    entries = {**own.pictures, **own.tried.pictures}
    for name, rows in {**own.rows, **own.tried.rows}.items():
        hits = concept_hits(evidence.method[name], evidence.concept, evidence.judge_labels)
        places = [(e, f"{i:03d}.png") for e in entries[name] for i in range(len(e.files))]
        listed[name] = [
            {
                "prompt": row.prompt.text,
                "prompt_id": row.prompt.id,
                "seed": row.seed,
                "stage": entry.stage,
                "key": entry.key,
                "file": file,
                "hit": bool(hit),
            }
            for row, (entry, file), hit in zip(rows, places, hits, strict=True)
        ]
    return listed
