"""Part of `pipeline.py` that needs Ray: two workers on this machine against one."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from pipeline_models import GROUPS, Table, request, run_context

from varbench.conf.schema import EngineConfig
from varbench.pipeline.engines.ray import prepare

ARGUMENTS = ("suite.robustness.prompts=0", "suite.block=20")


def workers(folder: Path, scale: float) -> list[Table]:
    """Tasks of the base model and UCE with one worker and with two, one thread each.

    The cluster is there before the clock starts; starting workers, which read the model, counts.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    seeds = (f"suite.groups.{group}.seeds={max(1, round(8 * scale))}" for group in GROUPS)
    asked = request("uce", *seeds, *ARGUMENTS)
    rows: list[tuple[Any, ...]] = []
    took: list[float] = []
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        for count in (1, 2):
            one = replace(asked, engine=EngineConfig("ray", workers=count))
            began = time.perf_counter()
            prepare(one, run_context(folder / str(count)))
            took.append(time.perf_counter() - began)
            rows.append((count, took[-1], took[0] / took[-1]))
    finally:
        ray.shutdown()
    columns = ("workers", "wall s", "times as fast as one")
    return [Table("varbench run --method uce, without attacks, one thread each", columns, rows)]
