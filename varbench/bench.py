"""The story of a run: plan -> erase -> generate -> probe -> score -> record.

Every step looks into the store first, so the same command resumes, and adding a method, a seed
or a concept costs only the difference. The unerased model (``none``) always runs along.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from varbench import probes, provenance, stages
from varbench.ablation import Ablation
from varbench.conf.schema import plain
from varbench.methods.registry import NONE
from varbench.metrics import Evidence, Group, Instruments, concept_hits
from varbench.models import registry
from varbench.plan import Cell, Request, Row, blocks, concept_text, plan
from varbench.probes import Probed, probe
from varbench.rows import write_rows
from varbench.stages import Workshop
from varbench.store import Entry

SCHEMA = 1
KEPT = ("neighbours", "unrelated")


@dataclass(frozen=True)
class Scored:
    """Pictures and scores of one model, group by group; entries in block order.

    Attributes:
        edit: what changed its weights; None where nothing did.
        probed: what it predicts, besides the pictures.
        instruments: what looked at the pictures.
    """

    edit: Entry | None
    rows: Mapping[str, list[Row]]
    pictures: Mapping[str, list[Entry]]
    scores: Mapping[str, list[dict[str, Entry]]]
    probed: Probed
    instruments: Instruments

    def groups(self) -> dict[str, Group]:
        """What metrics see."""
        made = {}
        for name, rows in self.rows.items():
            arrays = self.instruments.judged(_stack(self.scores[name]))
            made[name] = Group([r.prompt for r in rows], [r.seed for r in rows], arrays)
        return made

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
        entries += self.probed.entries()
        entries += [self.edit] if self.edit else []
        return [f"{e.stage}/{e.key}" for e in entries]


def run(request: Request, shop: Workshop) -> list[Entry]:
    """Do what is asked and return the cells' entries, in the order of the plan."""
    cells = plan(request)
    shop.store.sweep()
    done: list[Entry] = []
    base: Scored | None = None
    for cell in cells:
        shop.progress.label = f"{cell.method} on {cell.label}, seed {cell.seed}"
        if cell.method == NONE:
            base = None
        entry = _finished(shop, cell)
        if entry is None:
            base = base or measure(shop, _unerased(cells, cell))
            entry = _record(shop, cell, base)
        done.append(entry)
    return done


def run_ablation(ablation: Ablation, asked: Request, shop: Workshop) -> Entry:
    """Run all variants of an ablation and note which cells they are.

    Args:
        ablation: what to vary.
        asked: model, seeds, device and overrides; its concepts and suite, where not empty, stand
            in for the ablation's.
        shop: the place of work.

    Raises:
        UserError: a variant is not possible; nothing has been computed then.
    """
    requests = [ablation.request(variant, asked) for variant in ablation.variants]
    for request in requests:
        plan(request)
    cells = [[entry.key for entry in run(request, shop)] for request in requests]
    content = dataclasses.asdict(ablation)
    for variant, keys in zip(content["variants"], cells, strict=True):
        variant["cells"] = keys
    spec = {"name": ablation.name, "content": content}
    if entry := shop.store.get("ablation", spec):
        return entry
    with shop.store.write("ablation", spec) as writer:
        (writer.dir / "ablation.json").write_text(json.dumps(content, indent=1))
    assert writer.entry is not None
    return writer.entry


def _unerased(cells: Sequence[Cell], cell: Cell) -> Cell:
    same = (c for c in cells if c.concept is cell.concept and c.asked == cell.asked)
    return next(c for c in same if c.method == NONE)


def cell_spec(cell: Cell, instruments: Instruments) -> dict[str, Any]:
    """What decides a cell's content."""
    config = plain(cell.config)
    config["model"].pop("weights", None)  # a path; the fingerprint says what is there
    return {
        "schema": SCHEMA,
        "model": registry.fingerprint(cell.config.model),
        "config": config,
        "edit": stages.edit_spec(cell),
        "steering": stages.steering_spec(cell),
        "concept": cell.concept.digest(),
        "erased": [concept.digest() for concept in cell.erased.concepts],
        "seed": cell.seed,
        **instruments.spec(),
        "generate": stages.GENERATE_VERSION,
        "probe": probes.VERSION,
    }


def _finished(shop: Workshop, cell: Cell) -> Entry | None:
    """The cell's entry, if it and everything it was computed from is there and undamaged."""
    entry = shop.store.get("cell", cell_spec(cell, shop.instruments(cell)))
    if entry is None:
        return None
    for key in entry.json("cell.json")["inputs"]:
        stage, _, digest = key.partition("/")
        if shop.store.find(stage, digest) is None:
            return None
    return entry


def measure(shop: Workshop, cell: Cell, base: Scored | None = None) -> Scored:
    """Erase, generate, probe and score one cell; `base` is the unerased model's."""
    edit = stages.erase(shop, cell)
    rows = cell.groups()
    todo = {name: list(blocks(some, cell.config.suite.block)) for name, some in rows.items()}
    flat = [block for group in todo.values() for block in group]
    pictures = stages.generate(shop, cell, edit, flat)
    probed = probe(shop, cell, edit, base.probed if base else None)
    instruments = shop.instruments(cell)
    scores = stages.score(shop, instruments.scorers, pictures, flat)
    sizes = [len(group) for group in todo.values()]
    return Scored(
        edit,
        rows,
        dict(zip(todo, _split(pictures, sizes), strict=True)),
        dict(zip(todo, _split(scores, sizes), strict=True)),
        probed,
        instruments,
    )


def _split(items: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    out, start = [], 0
    for size in sizes:
        out.append(list(items[start : start + size]))
        start += size
    return out


def _stack(per_block: Sequence[Mapping[str, Entry]]) -> dict[str, dict[str, Any]]:
    loaded: dict[str, list[dict[str, Any]]] = {}
    for block in per_block:
        for name, entry in block.items():
            with np.load(entry.path("scores.npz"), allow_pickle=False) as arrays:
                loaded.setdefault(name, []).append(dict(arrays))
    return {
        name: {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
        for name, parts in loaded.items()
    }


def _reference_features(shop: Workshop, cell: Cell) -> dict[str, Any] | None:
    scorers = shop.instruments(cell).scorers
    if "features" not in scorers:
        return None
    rows = cell.groups()
    todo = [b for name in KEPT if name in rows for b in blocks(rows[name], cell.config.suite.block)]
    pictures = stages.reference(shop, cell, todo)
    if not pictures:
        return None
    only = {"features": scorers["features"]}
    return _stack(stages.score(shop, only, pictures, todo))["features"]


def _record(shop: Workshop, cell: Cell, base: Scored) -> Entry:
    """Compute all metrics of a cell and write its entry."""
    own = base if cell.method == NONE else measure(shop, cell, base)
    method, unerased = own.groups(), base.groups()
    instruments = shop.instruments(cell)
    evidence = Evidence(
        concept=cell.concept,
        judge_labels=instruments.judge.labels,
        method=method,
        base=unerased,
        reference=_reference_features(shop, cell),
        method_probe=own.probed.groups(),
        base_probe=base.probed.groups(),
    )
    found_by = {id: metric.compute(evidence) for id, metric in instruments.metrics.items()}
    records = []
    for id, found in found_by.items():
        d = found.difference
        records.append(
            {
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
                "difference": None
                if d is None
                else {"value": d.value, "low": d.low, "high": d.high},
                "note": found.note,
                "details": dict(found.details),
            }
        )
    inputs = list(dict.fromkeys([*own.keys(), *base.keys()]))
    spec = cell_spec(cell, instruments)
    content = {
        "schema": SCHEMA,
        "model": cell.config.model.name,
        "embedded": cell.config.model.embedded,
        "method": cell.method,
        "method_config": plain(cell.config.method),
        "config": cell.config_hash(),
        "concept": cell.label,
        "erased": cell.erased.name,
        "concept_file": concept_text(cell),
        "family": cell.concept.family,
        "suite": cell.config.suite.name,
        "seed": cell.seed,
        "command": cell.command,
        "overrides": list(cell.overrides),
        "resolved_config": plain(cell.config),
        "provenance": {
            "model_fingerprint": spec["model"],
            "model_files": registry.provenance(cell.config.model),
            "prompt_tokens_lost": own.tokens_lost(),
            "scorers": spec["scorers"],
            "judge": [cell.concept.judge.name, *spec["judge"]],
            "concept": spec["concept"],
            "versions": provenance.versions(),
            "plugins": provenance.plugins(cell),
            "commit": provenance.commit(),
            "device": provenance.device_name(shop.device),
        },
        "records": records,
        "edit": own.edit.key if own.edit else None,
        "pictures": _picture_list(own, method, evidence),
        "inputs": inputs,
    }
    with shop.store.write("cell", spec) as writer:
        (writer.dir / "cell.json").write_text(json.dumps(content, indent=1, allow_nan=False))
        rows = {id: found.rows for id, found in found_by.items() if found.rows is not None}
        write_rows(writer.dir / "rows.npz", rows)
    assert writer.entry is not None
    return writer.entry


def _picture_list(
    own: Scored, groups: Mapping[str, Group], evidence: Evidence
) -> dict[str, list[dict[str, Any]]]:
    listed: dict[str, list[dict[str, Any]]] = {}
    for name, rows in own.rows.items():
        hits = concept_hits(groups[name], evidence.concept, evidence.judge_labels)
        places = [(e.key, f"{i:03d}.png") for e in own.pictures[name] for i in range(len(e.files))]
        listed[name] = [
            {
                "prompt": row.prompt.text,
                "prompt_id": row.prompt.id,
                "seed": row.seed,
                "key": key,
                "file": file,
                "hit": bool(hit),
            }
            for row, (key, file), hit in zip(rows, places, hits, strict=True)
        ]
    return listed
