"""Make the golden store with the code as it is: `python -m tests.golden.make_store`.

Runs a handful of tiny commands on the Gallery in a new folder and packs what they leave. The
frozen store is only to be made anew when keys are meant to change.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from typer.testing import CliRunner

import tests.conftest  # noqa: F401  # nobody's fetched files decide anything
from tests.golden.keys import requests_of_ablation
from tests.golden.reports import REPORTS, report_text
from tests.helpers.image_folder import HEADER, export_cell, write_manifest
from varbench.cli import app
from varbench.models.infinity.model import InfinityModel
from varbench.store import Store

HERE = Path(__file__).parent
OWN_FILES = ("own-mannequin.yaml", "own-ablation.yaml")
LEFT_OUT = {"report", "runs", "locks", "tmp", "damaged"}


PLAIN = ("target", "neighbours", "unrelated")
QUIET = ["suite.probe.prompts=0", "suite.robustness.prompts=0"]
TRIED = [
    "suite.robustness.prompts=2", "suite.robustness.seeds=1", "suite.robustness.scales=[2]",
    "suite.robustness.vectors=1", "suite.robustness.examples=2", "suite.robustness.steps=2",
    "suite.robustness.batch=1", "suite.probe.prompts=2",
]  # fmt: skip
PAIRS = [f"suite.groups.{name}.{size}" for name in PLAIN for size in ("prompts=2", "seeds=1")]
FEWER = [pair for pair in PAIRS if "neighbours" not in pair] + ["suite.groups.neighbours.seeds=0"]
EVERY = [
    *PAIRS,
    "+suite.groups={implicit:{prompts:2,seeds:1},adversarial:{prompts:2,seeds:1},"
    "extra:{set:gallery-objects,prompts:2,seeds:1,asks:false}}",
    "suite.groups.target.prompts=3",  # one of them will fail
    "suite.block=3",
]
SMALL = [*PAIRS, "suite.block=2"]
TRAINED = [
    "pairs=2", "method.train.steps=2", "method.train.batch=1", "method.train.blocks=1",
    "method.train.parts=[cross_attention.kv]", "method.train.precision=bf16-weights",
]  # fmt: skip


def _request(methods: list[str], concept: str, seeds: list[int], given: list[str]) -> Any:
    return {
        "model": "gallery", "methods": methods, "concepts": [concept], "suite": "smoke",
        "seeds": seeds, "overrides": given,
    }  # fmt: skip


def _run(asked: dict[str, Any], *options: str) -> dict[str, Any]:
    lists = {"--method": "methods", "--concept": "concepts", "--seed": "seeds"}
    args = [part for o, n in lists.items() for part in (o, ",".join(map(str, asked[n])))]
    args += ["--model", asked["model"], "--suite", asked["suite"], "--store", "{store}"]
    return {"args": ["run", *args, *options, *asked["overrides"]], "requests": [asked]}


def _commands() -> list[dict[str, Any]]:
    every = [*EVERY, *QUIET]
    full = ["svare", "uce", "sld"]
    loud = [*SMALL, *TRIED, *TRAINED, "method.target=h"]
    varied = [*PAIRS, "suite.block=2", *QUIET]
    score = ["score", "pictures/sld", "--concept", "face-ada", "--method", "sld-elsewhere"]
    score += ["--against", "pictures/none", "--store", "{store}"]
    ablation = ["run", "--ablation", "own-ablation.yaml", "--store", "{store}"]
    ablation += varied
    together = [*FEWER, "suite.block=2", *QUIET]
    return [
        _run(_request(full, "face-ada", [0, 1], loud)),
        _run(_request(["sld"], "face-ada+church", [0], together)),
        _run(_request(["none"], "own-mannequin.yaml", [0], every)),
        # The first decoder call of this one is made to fail.
        _run(_request(["neg-prompt"], "own-mannequin.yaml", [0], every),
             "--max-failed", "1"),
        {"args": ablation, "requests": requests_of_ablation("own-ablation.yaml", varied)},
        {"args": score, "requests": []},
    ]  # fmt: skip


def invoke(args: list[str], store: str = "store") -> Any:
    """One command, in this process."""
    return CliRunner().invoke(app, [arg.replace("{store}", store) for arg in args])


def _losing_an_image() -> Any:
    """The decoder gives no number for a pixel of the second image of its first block."""
    decode, calls = InfinityModel.decode, []

    def broken(self: InfinityModel, rollout: Any) -> Any:
        made = decode(self, rollout)
        if not calls:
            made[1, 0, 0, 0] = torch.nan
        calls.append(1)
        return made

    return mock.patch.object(InfinityModel, "decode", broken)


def _export(store: Path, images: Path) -> None:
    """Images of the first run as another program would leave them."""
    for entry in Store(store).entries("cell"):
        cell = entry.json("cell.json")
        if (cell["erased"], cell["method"]) in {("face-ada", "none"), ("face-ada", "sld")}:
            plain = {name: cell["pictures"][name] for name in PLAIN}
            folder = images / cell["method"]
            if not folder.exists():
                write_manifest(
                    folder, export_cell(Store(store), {"pictures": plain}, folder), HEADER
                )


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    work = Path(tempfile.mkdtemp(prefix="golden-"))
    for name in OWN_FILES:
        shutil.copy(HERE / name, work)
    os.chdir(work)
    commands = _commands()
    for command in commands:
        if command["args"][0] == "score":
            _export(work / "store", work / "pictures")
        broken = _losing_an_image() if "--max-failed" in command["args"] else mock.MagicMock()
        with broken:
            done = invoke(command["args"])
        command["exit"] = done.exit_code
        print(f"{shlex.join(command['args'])}\n  -> {done.exit_code}")
        assert done.exit_code == 0, done.output
    _write(HERE / "commands.json", commands)
    (HERE / "reports").mkdir(exist_ok=True)
    for name, args in REPORTS.items():
        (HERE / "reports" / name).write_text(report_text(args, work), encoding="utf-8")
    _pack(work)


def _pack(work: Path) -> None:
    """Entries of the store and the folders beside it; no journal, no lock."""
    files = sorted(p.relative_to(work) for p in work.rglob("*") if p.is_file())
    kept = [p for p in files if not LEFT_OUT & set(p.parts[:2])]
    with tarfile.open(HERE / "store.tar.xz", "w:xz", preset=9) as tar:
        for path in kept:
            tar.add(work / path, path.as_posix(), filter=_plain)
    print(f"{work}: {(HERE / 'store.tar.xz').stat().st_size} bytes packed")


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


if __name__ == "__main__":
    main()
