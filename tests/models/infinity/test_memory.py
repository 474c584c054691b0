"""Peak memory of loading, measured in a process of its own: the model and one file, no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.infinity_keys import transformer_keys
from tests.helpers.paths import ROOT
from tests.helpers.weights_files import sharded
from varbench.models.infinity.config import TransformerConfig

CONFIG = TransformerConfig(768, depth=6, heads=8, bits=16, text_maxlen=64)
TINY = TransformerConfig(64, depth=3, heads=1, bits=4, text_width=128, text_maxlen=4)
SHARDS = 4

LOAD = f"""
import sys
from pathlib import Path
import torch
from varbench.models.infinity.config import TransformerConfig
from varbench.models.infinity.released import block_dtype
from varbench.models.weights.checkpoint import load_new
from varbench.models.infinity.checkpoint import TransformerFormat
from varbench.models.weights.tensor_files import read_tensors
from varbench.models.infinity.transformer import InfinityTransformer

def kilobytes(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))

def load(path, config):
    return load_new(
        lambda: InfinityTransformer(config), read_tensors(path), TransformerFormat(3),
        device=torch.device("cpu"), dtype=lambda name: block_dtype(sys.argv[2], name),
    )

path = Path(sys.argv[1])
load(path.with_name("tiny-" + path.name), {TINY!r})  # code that torch reads late is not the model's
Path("/proc/self/clear_refs").write_text("5")  # from here the peak counts
before = kilobytes("VmRSS")
model = load(path, {CONFIG!r})
print((kilobytes("VmHWM") - before) * 1024)
print(sum(p.numel() * p.element_size() for p in model.parameters()))
"""


def write(folder: Path, config: TransformerConfig, start: str) -> dict[str, Path]:
    """One random model in three formats; format -> what to load."""
    t = config
    shapes = transformer_keys(
        t.width, t.depth, t.heads, t.depth // 3, t.bits, t.text_width, t.text_maxlen
    )
    tensors = {
        name: torch.zeros(s) if name.endswith("zero_k_bias") else torch.full(s, 0.5)
        for name, s in shapes.items()
    }
    torch.save(tensors, folder / f"{start}flat.pth")
    save_file(tensors, folder / f"{start}one.safetensors")
    index = sharded(folder / "shards", tensors, SHARDS, start)
    return {
        "flat": folder / f"{start}flat.pth",
        "one": folder / f"{start}one.safetensors",
        "shards": index,
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int]]:
    """Format -> (what to load, bytes of the largest file)."""
    folder = tmp_path_factory.mktemp("memory")
    write(folder, TINY, "tiny-")
    paths = write(folder, CONFIG, "")
    whole = paths["flat"].stat().st_size
    largest = max(f.stat().st_size for f in paths["shards"].parent.glob("model*.safetensors"))
    assert largest < 0.3 * whole
    return {kind: (path, largest if kind == "shards" else whole) for kind, path in paths.items()}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["flat", "one", "shards"])
def test_peak_is_the_model_and_the_largest_file(
    files: dict[str, tuple[Path, int]], kind: str, precision: str
) -> None:
    path, largest = files[kind]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path), precision],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    peak, model = map(int, done.stdout.split())
    print(f"{kind} {precision}: peak {peak / 1e6:.0f} MB, model {model / 1e6:.0f} MB, "
          f"largest file {largest / 1e6:.0f} MB")  # fmt: skip
    assert peak >= model, "the measurement missed the model itself"
    assert peak <= 1.15 * (largest + model)
