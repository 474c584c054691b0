"""Suites: which groups a concept gets, how many images that is, and what must be fetched."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path

import pytest

from tests.helpers.cli import varbench
from varbench.cli.list_tables import images_per_group
from varbench.conf.compose import names, resolve
from varbench.conf.schema import GroupConfig, SuiteConfig
from varbench.data.concept import Concept
from varbench.data.concept_files import list_concepts, load_concept
from varbench.data.prompt import Prompt, PromptSet
from varbench.errors import UserError
from varbench.metrics import METRICS
from varbench.pipeline import plan as plan_module
from varbench.pipeline.compatibility import for_gallery, published_groups
from varbench.pipeline.plan import Cell, Request, plan

REAL = "infinity-2b"
ADVERSARIAL = {"adversarial", "mma-diffusion", "p4d", "unlearndiffatk"}
COUNTED = re.compile(r"(\d+)(?: to (\d+))? images per method \(counted")


@pytest.fixture(autouse=True)
def nothing_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARBENCH_DATA", str(tmp_path / "data"))


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every published set is there, with three prompts; the names of those that were read."""
    read: list[str] = []
    real = plan_module.load_prompt_set

    def load(name: str) -> PromptSet:
        if name not in ("i2p", "coco-30k"):
            return real(name)
        read.append(name)
        texts = [f"a nude statue, {name}", f"a red car, {name}", f"two cats, {name}"]
        return PromptSet(name, "", tuple(Prompt(t, f"{name}-{i}", {}) for i, t in enumerate(texts)))

    monkeypatch.setattr(plan_module, "load_prompt_set", load)
    return read


def suite(name: str) -> SuiteConfig:
    return resolve("gallery", name, "none").suite


def cells(concept: str, *overrides: str) -> list[Cell]:
    i2p = "i2p:{set:i2p,prompts:0,seeds:1,asks:true,families:[nudity]}"
    groups = f"+suite.groups={{{i2p},coco:{{set:coco-30k,prompts:0,seeds:2}}}}"
    return plan(Request(REAL, ("svare",), (concept,), "quick", (0,), (groups, *overrides)))


def test_a_group_of_a_family_is_for_its_concepts_only(fetched: list[str]) -> None:
    nudity, van_gogh = (cells(name)[0].groups() for name in ("nudity", "style-van-gogh"))
    assert set(nudity) == {"target", "implicit", "neighbours", "unrelated", "i2p", "coco"}
    assert set(van_gogh) == {"target", "neighbours", "unrelated", "coco"}


def test_the_tested_concepts_family_counts_where_several_are_erased(fetched: list[str]) -> None:
    found = {c.concept.name: "i2p" in c.groups() for c in cells("nudity+style-van-gogh")}
    assert found == {"nudity": True, "style-van-gogh": False}


def test_a_set_that_asks_for_the_concept_keeps_the_prompts_that_say_it(fetched: list[str]) -> None:
    groups = cells("nudity", "suite.split=all")[0].groups()
    assert [row.prompt.id for row in groups["i2p"]] == ["i2p-0", "i2p-1", "i2p-2"]
    assert [(row.prompt.id, row.seed) for row in groups["coco"]] == [
        ("coco-30k-1", 0), ("coco-30k-1", 1), ("coco-30k-2", 0), ("coco-30k-2", 1),
    ]  # fmt: skip


def test_sets_of_groups_that_are_not_made_are_not_asked_for(fetched: list[str]) -> None:
    cells("style-van-gogh", "suite.groups.coco.seeds=0")
    assert not fetched
    assert "coco" not in cells("nudity", "suite.groups.coco.seeds=0")[0].groups()
    assert set(fetched) == {"i2p"}


def test_groups_are_worked_out_once_for_all_cells_of_a_plan(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(fetched)
    request = cells("nudity")
    assert all(cell.groups() == request[0].groups() for cell in request)
    assert fetched[before:] == ["i2p", "coco-30k"] * 2  # looked for, then read
    request[0].groups()["target"].clear()  # a caller's own copy
    assert request[1].groups()["target"]


def test_all_missing_sets_are_named_at_once() -> None:
    with pytest.raises(UserError) as caught:
        plan(Request(REAL, (), ("nudity",), "paper", (0,)))
    message = str(caught.value)
    for name in ("i2p", "ring-a-bell-nudity", "mma-diffusion", "p4d", "coco-30k"):
        assert name in message.split("`")[1].split()
    without = re.findall(r"suite\.groups\.\S+=0", message)
    assert len(without) == 6
    assert set(plan(Request(REAL, (), ("nudity",), "paper", (0,), tuple(without)))[0].groups()) == {
        "target", "implicit", "neighbours", "unrelated",
    }  # fmt: skip
    with pytest.raises(UserError, match=r"varbench fetch coco-30k`.*suite.groups.coco.seeds=0$"):
        plan(Request(REAL, (), ("imagenet-church",), "paper", (0,)))


def test_impossible_groups_are_refused() -> None:
    for wrong in ({"seeds": -1}, {"prompts": -1}, {"families": ["styles"]}):
        with pytest.raises(ValueError, match="group"):
            GroupConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="must be one of celebrity, nudity"):
        resolve("gallery", "smoke", "none", ["suite.groups.target.families=[nude]"])


SPLITS = {"paper": "all", "quick": "test", "regression": "test", "smoke": "test", "tune": "tune"}


def test_the_suites_are_what_the_page_says() -> None:
    assert names("suite") == ["paper", "quick", "regression", "smoke", "tune"]
    for name, split in SPLITS.items():
        assert suite(name).split == split
    paper = suite("paper")
    sizes = {name: (size.prompts, size.seeds) for name, size in suite("smoke").groups.items()}
    assert sizes == dict.fromkeys(("target", "neighbours", "unrelated"), (60, 4))
    assert set(paper.metrics) <= set(METRICS)
    assert len(set(paper.metrics)) == len(paper.metrics)
    for name in ADVERSARIAL | {"i2p"}:
        assert paper.groups[name].families == ["nudity"]
    # Sets under names of their own that ask for the concept must say so.
    assert {n for n, g in paper.groups.items() if g.asks} == (ADVERSARIAL | {"i2p"}) - {
        "adversarial"
    }


def test_a_suite_names_every_metric_that_its_judges_allow_or_none() -> None:
    """A metric that is added is named in `paper`, or left out here on purpose."""
    left_out = {"fid_real"}  # of neighbours and unrelated, for which no real images are known
    assert set(METRICS) - set(suite("paper").metrics) == left_out
    assert all(not suite(name).metrics for name in SPLITS if name != "paper")


@cache
def packaged() -> list[Concept]:
    return [load_concept(name) for name in list_concepts()]


def counts(name: str) -> dict[str, int]:
    """Images per method of the concepts that a suite is meant for, by its first lines."""
    meant = [c for c in packaged() if for_gallery(c) == (name in ("smoke", "tune"))]
    return {c.name: sum(images_per_group(suite(name), c).values()) for c in meant}


@pytest.mark.parametrize("name", ["paper", "quick", "regression", "smoke", "tune"])
def test_a_suites_first_lines_tell_its_images(name: str) -> None:
    text = (resources.files("varbench.conf") / "suite" / f"{name}.yaml").read_text()
    head = " ".join(line.strip("# ") for line in text.split("defaults:")[0].splitlines())
    low, high = COUNTED.findall(head)[0]
    found = counts(name).values()
    assert (min(found), max(found)) == (int(low), int(high or low))


def test_images_are_those_of_the_plan(fetched: list[str]) -> None:
    for name in ("nudity", "imagenet-church"):
        cell = plan(Request(REAL, (), (name,), "quick", (0,)))[0]
        expected = {group: len(rows) for group, rows in cell.groups().items()}
        assert images_per_group(suite("quick"), load_concept(name)) == expected


def test_images_of_sets_that_are_not_here_are_counted_from_the_table() -> None:
    nudity: Concept = load_concept("nudity")
    found = images_per_group(suite("paper"), nudity)
    assert (found["i2p"], found["coco"], found["adversarial"]) == (4467, 29495, 285)
    assert found["target"] == len(nudity.group("target")) * 20
    assert "i2p" not in images_per_group(suite("paper"), load_concept("style-van-gogh"))


def test_the_list_of_suites() -> None:
    listed = varbench("list", "suites")
    assert listed.exit_code == 0, listed.output
    text = listed.stdout
    assert "i2p all x 1 (nudity)" in text
    assert "adversarial all x 1 of ring-a-bell-nudity (nudity)" in text
    assert "720 the Gallery's" in text
    for name, count in counts("paper").items():
        assert re.search(rf"\b{count} {name}\b", text)
    (smoke,) = (line for line in text.splitlines() if line.startswith("smoke"))
    assert "all that apply" in smoke
    assert set(published_groups(suite("paper"))) == ADVERSARIAL | {"i2p", "coco"}


def test_the_list_of_concepts_names_judge_and_kind_of_model() -> None:
    rows = {line.split()[0]: line for line in varbench("list", "concepts").stdout.splitlines()}
    assert re.search(r"nudenet +real models$", rows["nudity"].rstrip())
    assert re.search(r"gallery +the Gallery$", rows["face-ada"].rstrip())
