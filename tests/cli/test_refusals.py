"""Bad requests are refused before any work: exit code 2, and the choices or the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.cli import varbench
from tests.helpers.report import put_cell
from varbench.store import Store

INFINITY = ["--model", "infinity-2b", "--concept", "church", "--method", "none"]
REQUESTS: list[tuple[list[str], list[str]]] = [
    (["--method", "svar"], ["svar", "'svare'", "naive"]),
    (["--method", ""], ["--method needs at least one name"]),
    (["--concept", "face-adda"], ["face-adda", "face-ada"]),
    (["--concept", ""], ["--concept needs at least one name"]),
    (["--concept", "nowhere.yaml"], ["nowhere.yaml"]),
    (["--suite", "smok"], ["'smoke'"]),
    (["--suite", ""], ["--suite needs a name"]),
    (["--model", "galery"], ["'gallery'"]),
    (["--ablation", "alfa"], ["'alpha'"]),
    (["--ablation", "alpha", "--method", "svare"], ["drop --method"]),
    (["--seed", "one"], ["numbers separated by commas"]),
    (["--seed", "-1"], ["numbers separated by commas"]),
    (["--seed", "1_0"], ["numbers separated by commas"]),
    (["--seed", "1,1"], ["twice"]),
    (["--device", "tpu"], ["tpu", "auto, cpu, cuda"]),
    (["--device", "cudatpu"], ["cudatpu", "auto, cpu, cuda"]),
    (["--from", "nowhere.json"], ["nowhere.json"]),
    (["alpha"], ["KEY=VALUE"]),
    (["method.alfa=0.5"], ["method.alpha"]),
    (["method.alpha=two"], ["alpha"]),
    (["method.alpha=3"], ["share between 0 and 1"]),
    (["model.name=gallery"], ["--model"]),
    (["suite.name=smoke"], ["--suite"]),
    (["engine=slurm"], ["'slurm'", "local, ray"]),
    (["suite.blok=3"], ["suite.block"]),
    (["suite.split=train"], ["test, tune, all"]),
    (["suite.metrics=[acc_x]"], ["unknown metric 'acc_x'", "acc_e, acc_g"]),
    (["suite.groups.target.families=[celebrities]"], ["celebrity"]),
    (["method.train.parts=[brain]"], ["'brain'", "cross_attention"]),
    (["method.train.precision=fp8"], ["fp32, bf16"]),
    ([*INFINITY, "model.train.precision=fp8"], ["fp32, bf16"]),
    (["model.sampling.guidance=-1"], ["model.sampling.guidance must not be negative"]),
    (["model.sampling.temperature=-1"], ["model.sampling.temperature must not be negative"]),
    (["model.sampling.temperature=0"], ["model.sampling.temperature must be positive"]),
    (["model.sampling.temperature=1e999"], ["model.sampling.temperature must be a finite number"]),
    (["method.gamma=-1"], ["method.gamma must not be negative"]),
    (["method.train.rate=1e999"], ["method.train.rate must be a finite number"]),
    (["method.rollout.temperature=-1"], ["method.rollout.temperature must not be negative"]),
]


@pytest.mark.parametrize(("args", "words"), REQUESTS, ids=lambda value: " ".join(value[:2]))
def test_a_bad_request_is_refused_before_work(
    args: list[str], words: list[str], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for command in (["run"], ["run", "--show-config"], ["plan", "--no-probe"]):
        result = varbench(*command, "--store", store, *args)
        assert result.exit_code == 2, result.output
        for word in words:
            assert word in result.output
        assert "Traceback" not in result.output
        assert not store.exists()


def test_an_ablation_with_an_unknown_metric_is_refused(tmp_path: Path) -> None:
    from varbench.utils.files import packaged

    text = (packaged("conf") / "ablation" / "alpha.yaml").read_text(encoding="utf-8")
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("acc_n", "acc_x"), encoding="utf-8")
    for command in (["run"], ["run", "--show-config"], ["plan", "--no-probe"]):
        result = varbench(*command, "--ablation", file, "--store", tmp_path / "store")
        assert result.exit_code == 2, result.output
        assert "unknown metric 'acc_x'" in result.output


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["list", "model"], "'models'"),
        (["fetch", "i2b"], "i2p"),
        (["export", "--out", "o", "--method", "svare", "--concept", "church", "--format", "zip"],
         "choose one of: checkpoint, edit"),
        (["export", "--out", "o", "--method", "svare", "--concept", "face-ada", "--seed", "-1"],
         "--seed"),
        (["score", ".", "--concept", "church", "--wanted", "--suite", "smoke", "--device", "tpu"],
         "unknown device 'tpu'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_unknown_choices_of_other_commands_are_refused(
    args: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = varbench(*args)
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--format", "pdf"], "unknown format 'pdf': choose one of: csv,"),
        (["--table", "maim"], "unknown table 'maim': did you mean 'main'?"),
        (
            ["--table", "paper", "--format", "json"],
            "unknown format 'json': choose one of: csv, html, latex, md, table",
        ),
        (["--ablation", "alpha", "--format", "json"], "choose one of: csv, latex, md, table"),
        (["--reported", "--format", "csv"], "choose one of: latex, md, table"),
        (["--metric", "acc_x"], "no results for metric 'acc_x'"),
        (["--model", ""], "--model needs at least one name"),
        (["--suite", "paper"], "no results for suite 'paper'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unknown_choices_of_a_report_are_refused(
    args: list[str], words: str, tmp_path: Path
) -> None:
    put_cell(Store(tmp_path / "store"), "none")
    for out in ([], ["--out", tmp_path / "out"]):
        result = varbench("report", "--store", tmp_path / "store", *args, *out)
        assert result.exit_code == 2, result.output
        assert words in result.output
        assert not (tmp_path / "out").exists()


def test_the_page_needs_a_folder_and_formats_are_checked_before_the_store(tmp_path: Path) -> None:
    result = varbench("report", "--store", tmp_path / "no store", "--format", "html")
    assert result.exit_code == 2, result.output
    assert "choose one of: csv, json, latex, md, table" in result.output
