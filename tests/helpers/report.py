"""A store as `bench` writes it, with numbers and images made up for tests of reports."""

from __future__ import annotations

import json
from typing import Any

from PIL import Image

from varbench.metrics.stats.paired_samples import PairedSamples, write_rows
from varbench.store import Store, digest

HOSTILE = "<script>alert('x')</script> \"ada\" & \u202eevil\u202c {{ 7 * 7 }} \x1b[31m"
RED, BLUE = (200, 30, 20), (20, 40, 200)
# method -> metric -> (value, low, high); the unerased model's values are the baselines
NUMBERS: dict[str, dict[str, tuple[float | None, float | None, float | None]]] = {
    "none": {"acc_e": (0.96, 0.93, 0.98), "acc_n": (0.95, 0.92, 0.97), "acc_u": (0.98, 0.96, 0.99)},
    "naive": {
        "erasure_rate": (0.92, 0.88, 0.95), "acc_e": (0.08, 0.05, 0.12),
        "acc_n": (0.81, 0.76, 0.85), "acc_u": (0.91, 0.88, 0.93), "fid_base": (10.6, None, None),
    },
    "svare": {
        "erasure_rate": (0.94, 0.90, 0.96), "acc_e": (0.06, 0.03, 0.10),
        "acc_n": (0.96, 0.93, 0.98), "acc_u": (0.91, 0.88, 0.93), "kid_base": (0.01234, 0.01, 0.02),
    },
}  # fmt: skip


def put_images(store: Store, name: str, colour: tuple[int, int, int], count: int = 4) -> str:
    """An entry of `count` images with a hard edge, so that covering can be told from showing."""
    spec = {"block": name}
    with store.write("pictures", spec) as writer:
        for index in range(count):
            image = Image.new("RGB", (64, 64), colour)
            image.paste((255, 255, 255), (index, 20, 30, 40))
            image.save(writer.dir / f"{index:03d}.png")
    return digest(spec)


def put_cell(store: Store, method: str, seed: int | None = 0, **changes: Any) -> dict[str, Any]:
    """A cell as `bench` writes it, with two prompts x two image seeds per group."""
    concept, family = changes.pop("concept", "face-ada"), changes.pop("family", "celebrity")
    shift, prompt = changes.pop("shift", 0.0), changes.pop("prompt", "a photo of ada")
    rows: dict[str, PairedSamples] = changes.pop("rows", {})
    same = {"model": "gallery", "method": method, "config": f"{method:0<8.8}", "concept": concept}
    records = []
    for metric, (value, low, high) in NUMBERS.get(method, {}).items():
        base = NUMBERS["none"].get(metric, (None,))[0]
        difference = None
        if base is not None and value is not None and method != "none":
            by = value + shift - base
            difference = {"value": by, "low": by - 0.02, "high": by + 0.02}
        ends = [None if x is None else x + shift for x in (value, low, high)]
        records.append(
            {
                **same,
                "suite": "smoke",
                "prompt_set": "gallery-faces",
                "metric": metric,
                "seed": seed,
            }
            | {"value": ends[0], "ci_low": ends[1], "ci_high": ends[2], "n": 200, "n_failed": 1}
            | {"baseline": base, "status": "measured", "difference": difference}
        )
    images: dict[str, list[dict[str, Any]]] = {}
    for group in ("target", "neighbours", "unrelated"):
        colour = RED if group == "target" else BLUE
        key = put_images(store, f"{concept}/{method}/{group}", colour)
        images[group] = [
            {"prompt": f"{prompt} {group} {i // 2}", "prompt_id": f"{concept}{group}{i // 2}"}
            | {"seed": i % 2, "key": key, "file": f"{i:03d}.png"}
            | {"hit": group == "target" and method == "none"}
            for i in range(4)
        ]
    cell = {
        **same, "schema": 1, "embedded": True, "family": family, "suite": "smoke", "seed": seed,
        "method_config": {"lr": 1e-4}, "resolved_config": {"method": {"name": method}},
        "command": ["varbench", "run", "--method", method], "seconds": {"edit": 12.5},
        "provenance": {"model": {"sha256": "ab" * 32}, "versions": {"torch": "2.13"}},
        "records": records, "pictures": images, **changes,
    }  # fmt: skip
    with store.write("cell", {"concept": concept, "method": method, "seed": seed}) as writer:
        (writer.dir / "cell.json").write_text(json.dumps(cell))
        write_rows(writer.dir / "rows.npz", rows)
    return cell
