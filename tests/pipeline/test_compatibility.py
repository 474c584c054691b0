"""Concepts and suites on the wrong kind of model: refused, or warned of."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import resources
from pathlib import Path

import pytest

from tests.helpers.cli import varbench
from varbench.conf.compose import resolve
from varbench.data.concept_files import load_concept
from varbench.errors import UserError
from varbench.pipeline import compatibility
from varbench.pipeline.compatibility import check_compatible, compatibility_warnings, for_gallery
from varbench.pipeline.plan import Request, plan

REAL = ("celebrity-albert-einstein", "imagenet-church", "nudity", "style-van-gogh")
GALLERY = ("face-ada", "church")
TARGET = "  target:\n"


@pytest.fixture(autouse=True)
def _few_concepts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages list what fits, and reading all concepts takes seconds."""
    monkeypatch.setattr(compatibility, "list_concepts", lambda: [*GALLERY, "nudity"])


def request(model: str, *concepts: str, suite: str = "smoke") -> Request:
    return Request(model, (), concepts, suite, (0,))


@pytest.mark.parametrize("name", REAL)
def test_the_gallery_refuses_prompts_that_it_cannot_read(name: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(request("gallery", name))
    told = str(caught.value)
    assert told.startswith(f"concept {name!r} is for real models")
    fitting = told.rpartition(": ")[2].split(", ")
    assert fitting == list(GALLERY)


def test_one_of_several_that_does_not_fit_is_enough() -> None:
    with pytest.raises(UserError, match="concept 'style-van-gogh' is for real models"):
        plan(request("gallery", "face-ada+style-van-gogh"))


def test_the_refusal_names_words_that_the_gallery_does_not_know() -> None:
    with pytest.raises(UserError, match=r"does not know .*'nude'") as caught:
        plan(request("gallery", "nudity"))
    assert "'woman'" in str(caught.value) and "'a'" not in str(caught.value)


def test_the_gallery_refuses_published_prompts() -> None:
    with pytest.raises(UserError) as caught:
        plan(request("gallery", "face-ada", suite="paper"))
    told = str(caught.value)
    assert told.startswith("suite 'paper' is for real models")
    assert told.endswith("suites that fit: quick, regression, smoke, tune")


def test_a_users_concept_with_a_few_words_of_its_own_is_not_refused(tmp_path: Path) -> None:
    """Half of the prompts may have them, but no more."""
    packaged = resources.files("varbench.conf") / "concept" / "face-ada.yaml"
    head, _, rest = packaged.read_text().replace("name: face-ada", "name: mine").partition(TARGET)
    kept = rest[rest.index("  neighbours:") :]
    (tmp_path / "mine.yaml").write_text(f"{head}{TARGET}    - {{set: own.csv}}\n{kept}")
    config = resolve("gallery", "smoke", "none")
    known, unknown = (f"ada in {place}" for place in ("the snow", "a helicopter"))
    for strange, refused in ((5, False), (6, True)):
        texts = [known + " and a tree" * i for i in range(5)]
        texts += [unknown + " and a tree" * i for i in range(strange)]
        lines = ["prompt,identity", *(f"{text},ada" for text in texts), ""]
        (tmp_path / "own.csv").write_text("\n".join(lines))
        mine = load_concept(tmp_path / "mine.yaml")
        assert len(mine.group("target")) == len(texts)
        expected = pytest.raises(UserError, match=r"'mine' is .*'helicopter'") if refused else None
        with expected or nullcontext():
            check_compatible(config.model, config.suite, [load_concept("face-ada"), mine])


def test_released_models_run_the_gallerys_concepts_with_a_warning() -> None:
    cells = plan(request("infinity-2b", "face-ada", "nudity"))
    (told,) = compatibility_warnings(cells[0].config.model, [cell.concept for cell in cells])
    assert told.startswith("concept 'face-ada' is the Gallery's")
    assert told.endswith("concepts that fit: nudity")
    shown = varbench("plan", "--model", "infinity-2b", "--show-config")
    assert shown.exit_code == 0


def test_what_fits_is_not_warned_of() -> None:
    for model, names in (("infinity-2b", REAL), ("switti", REAL), ("gallery", GALLERY)):
        cells = plan(request(model, *names))
        assert not compatibility_warnings(cells[0].config.model, [cell.concept for cell in cells])
    assert {for_gallery(load_concept(name)) for name in REAL} == {False}


def test_the_commands_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "varbench.pipeline.estimate.text.run_estimate_text", lambda *args: "planned"
    )
    done = varbench("plan", "--model", "infinity-2b", "--concept", "face-ada")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == "planned"
    assert "warning: concept 'face-ada' is the Gallery's" in done.stderr
    assert "warning" not in varbench("plan", "--concept", "face-ada").stderr
    for command in ("run", "plan"):
        store = str(tmp_path / "store")
        refused = varbench(command, "--concept", "nudity", "--store", store)
        assert refused.exit_code == 2
        assert "error: concept 'nudity' is for real models" in refused.stderr
        assert not Path(store).exists()
