"""Facts of the published files themselves; needs them: ``--prompt-data=DIR``."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.pages import named_blocks
from varbench.data.concept_files import load_concept
from varbench.data.prompt import PromptSet
from varbench.data.prompt_sets import load_prompt_set
from varbench.data.published.catalog import known
from varbench.data.published.fetch import fetch
from varbench.data.published.readers import Reading, read

EXAMPLE = named_blocks("docs/prompts.md")["undressed.yaml"]

AT_HAND = [name for name, one in known().items() if one.sha256]
I2P_ROWS = {
    "sexual": 931, "shocking": 856, "harassment": 824, "self-harm": 801, "violence": 756,
    "illegal activity": 727, "hate": 231,
}  # fmt: skip


@pytest.fixture(scope="module")
def fetched(prompt_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with every file of the table that has a checksum."""
    folder = tmp_path_factory.mktemp("data")
    for name in AT_HAND:
        fetch(known()[name], folder, prompt_data)
    return folder


@pytest.fixture
def here(fetched: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VARBENCH_DATA", str(fetched))
    return fetched


def reading(folder: Path, name: str) -> Reading:
    path = folder / f"{name}.csv"
    return read(known()[name], path, path.read_bytes())


def labelled(found: PromptSet, label: str) -> list[str]:
    return [prompt.text for prompt in found.prompts if prompt.labels[label] == "yes"]


@pytest.mark.parametrize("name", AT_HAND)
def test_counts_are_those_of_the_table(name: str, here: Path) -> None:
    asset, prompt_set = known()[name], load_prompt_set(name)
    assert prompt_set.name == name and prompt_set.sha256 == asset.sha256
    assert len(prompt_set.prompts) == asset.prompts
    assert sum(int(prompt.labels["rows"]) for prompt in prompt_set.prompts) == asset.rows
    whole = reading(here, name)
    assert whole.rows - len(whole.repeats) == asset.prompts
    assert "expected" not in whole.summary(asset)


def test_i2p_has_4703_rows_4467_prompts_and_none_is_empty(here: Path) -> None:
    subset = reading(here, "i2p")
    assert subset.rows == 4703 and len(subset.prompt_set.prompts) == 4467
    assert len(subset.repeats) == 4703 - 4467
    assert all(prompt.text.strip() for prompt in subset.prompt_set.prompts)


def test_i2p_keeps_the_literal_prompt_null(here: Path) -> None:
    null = [p for p in load_prompt_set("i2p").prompts if p.text.casefold() == "null"]
    assert [p.text for p in null] == ["NuLL"]


def test_i2p_tags_are_those_of_its_rows(here: Path) -> None:
    """931 rows are tagged sexual; as repeats are merged, those are 900 prompts."""
    asset = known()["i2p"]
    assert asset.columns is not None
    rows = dataclasses.replace(
        asset,
        columns=dataclasses.replace(asset.columns, prompt="Unnamed: 0"),  # distinct in each row
    )
    path = here / "i2p.csv"
    unmerged = read(rows, path, path.read_bytes()).prompt_set
    counts = {tag: len(labelled(unmerged, tag)) for tag in I2P_ROWS}
    assert counts == I2P_ROWS and len(unmerged.prompts) == 4703
    assert len(labelled(load_prompt_set("i2p"), "sexual")) == 900


def test_the_nudity_subset_has_a_repeat_and_is_part_of_i2p(here: Path) -> None:
    subset = reading(here, "unlearndiffatk-nudity")
    assert subset.rows == 142 and subset.repeats == ((108, 90),)
    all_of_i2p = {prompt.id for prompt in load_prompt_set("i2p").prompts}
    assert {prompt.id for prompt in subset.prompt_set.prompts} <= all_of_i2p


def test_artists_and_classes_have_equally_many_prompts(here: Path) -> None:
    for name, column, labels, each in (
        ("esd-artists-famous", "artist", 5, 20),
        ("esd-artists-modern", "artist", 5, 20),
        ("uce-artists-holdout", "artist", 100, 5),
        ("imagenette-uce", "class", 10, 1),
    ):
        counts = Counter(p.labels[column] for p in load_prompt_set(name).prompts)
        assert len(counts) == labels and set(counts.values()) == {each}, name
    rows = {p.labels["rows"] for p in load_prompt_set("imagenette-uce").prompts}
    assert rows == {"500"}


def test_our_classes_are_those_of_imagenette(here: Path) -> None:
    ours = {p.labels["object"] for p in load_prompt_set("objects").prompts if not p.labels["near"]}
    theirs = {p.labels["class"] for p in load_prompt_set("imagenette-uce").prompts}
    assert {one.casefold() for one in ours} == {one.casefold() for one in theirs}


def test_captions_keep_the_number_of_their_image(here: Path) -> None:
    first = load_prompt_set("coco-30k").prompts[0]
    assert first.labels["image_id"] == "000000203564" and first.text.startswith("A bicycle replica")


def test_our_own_sets_share_no_prompt_with_published_ones(here: Path) -> None:
    published = {p.id for name in AT_HAND for p in load_prompt_set(name).prompts}
    for name in ("people", "people-pairs", "celebrities", "artist-styles", "objects"):
        assert not published & {p.id for p in load_prompt_set(name).prompts}, name


def test_a_concept_is_tested_on_tagged_prompts_by_name(here: Path, tmp_path: Path) -> None:
    """The page's example with I2P in it, as the page says."""
    wanted = '{set: i2p, where: {sexual: ["yes"]}}'
    text = EXAMPLE.replace("where: {state: [nude]}}]", f"where: {{state: [nude]}}}}, {wanted}]")
    (tmp_path / "nudity.yaml").write_text(text, encoding="utf-8")
    assert len(load_concept(tmp_path / "nudity.yaml").group("target")) == 96 + 900
