"""The wheel, installed elsewhere and run from an empty folder, does the main job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.helpers.cli import TINY

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
LINKED = ("baselines", "prompts", "results")


def call(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, without the checkout on the path."""
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built in this environment (hatchling is in the extra `test`)."""
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the commands of a new environment with the wheel and this one's dependencies."""
    home = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--quiet"]
    call(*pip, "--no-index", wheel, cwd=home)
    # A plain line in a .pth file adds a folder but not the .pth files in it: the dependencies are
    # found, an editable varbench among them is not.
    site = Path(
        call(
            python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home
        ).strip()
    )
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    place = call(python, "-c", "import varbench; print(varbench.__file__)", cwd=home).strip()
    assert Path(place).is_relative_to(home)
    return home / "bin"


@pytest.mark.parametrize("source", ["checkout", "sdist"])
def test_the_wheel_carries_everything(source: str, wheel: Path, tmp_path: Path) -> None:
    """Every file of the package is in it, and nothing else; also when pip builds from an sdist."""
    if source == "sdist":
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
        call(*build, tmp_path, "--sdist", ROOT, cwd=tmp_path)
        (sdist,) = tmp_path.glob("*.tar.gz")
        pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
        call(*pip, "--no-index", "--wheel-dir", tmp_path, sdist, cwd=tmp_path)
        (wheel,) = tmp_path.glob("*.whl")
    tracked = call("git", "ls-files", "varbench", *LINKED, cwd=ROOT).splitlines()
    installed = {name if name.startswith("varbench/") else f"varbench/{name}" for name in tracked}
    expected = installed - {f"varbench/{name}" for name in LINKED}  # the links
    inside_wheel = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    assert inside_wheel == expected
    assert {"varbench/py.typed", "varbench/baselines/naive.py"} <= inside_wheel
    assert "varbench/prompts/gallery-faces.csv" in inside_wheel
    assert wheel.stat().st_size < 40e6


def test_list_from_an_empty_folder(elsewhere: Path, tmp_path: Path) -> None:
    assert "face-ada" in call(elsewhere / "varbench", "list", "concepts", cwd=tmp_path)
    assert "gallery-faces" in call(elsewhere / "varbench", "list", "prompts", cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_main_job_from_an_empty_folder(elsewhere: Path, tmp_path: Path) -> None:
    """S-VARE and a baseline, then the report."""
    weights = ROOT / "varbench" / "models" / "gallery" / "weights"
    if not any(weights.glob("*.safetensors")):
        pytest.skip("the Gallery's weights are not trained yet")
    call(elsewhere / "varbench", "run", "--method", "svare,naive", *TINY, cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["varbench-runs"]
    records = json.loads(call(elsewhere / "varbench", "report", "--format", "json", cwd=tmp_path))
    found = records if isinstance(records, list) else records["records"]
    assert {record["method"] for record in found} == {"none", "svare", "naive"}
