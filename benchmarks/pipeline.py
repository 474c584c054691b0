r"""The harness's cost besides the models, and its growth; on the Gallery, on a CPU.

    python benchmarks/pipeline.py overhead   # wall time of a run over the time in networks
    python benchmarks/pipeline.py scoring    # scorers on blocks against one image at a time
    python benchmarks/pipeline.py strict     # strict mode against the usual one
    python benchmarks/pipeline.py growth     # time and memory at 1,000 to 20,000 images
    python benchmarks/pipeline.py planning   # two million images
    python benchmarks/pipeline.py resume     # a run that finds 100,000 images done
    python benchmarks/pipeline.py cells      # reports in a store of 1,000 cells
    python benchmarks/pipeline.py workers    # two workers of one thread against one (Ray)

Ratios are of one run of the benchmark. Processor time is that of all cores; wall time is what it
took beside whatever else the machine did. ``--scale 0.05`` makes a part smaller, to try it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline_cells import cells
from pipeline_growth import growth, planning, resume
from pipeline_models import Table, overhead, scoring, strict
from pipeline_workers import workers
from tabulate import tabulate

PARTS: dict[str, Callable[[Path, float], list[Table]]] = {
    part.__name__: part
    for part in (overhead, scoring, strict, growth, planning, resume, cells, workers)
}


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS) + "; all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for name in args.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            for table in PARTS[name](Path(folder) / "store", args.scale):
                sys.stdout.write(f"\n{name}: {table.title}\n\n")
                sys.stdout.write(
                    tabulate(table.rows, table.columns, tablefmt="pipe", floatfmt=".3g") + "\n"
                )


if __name__ == "__main__":
    main()
