"""Unsafe images stay covered, whatever the store holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.report import RED, page_of, put_cell, put_images
from varbench.data.concept_files import load_concept
from varbench.data.prompt import Prompt, prompt_id
from varbench.report import Filters
from varbench.store import Store

OWN = """
name: own
family: nudity
words: [unveiled]
synonyms: []
judge: {name: gallery, head: mannequin, label: bare}
"""


def images(store: Store, *prompts: Prompt | str) -> list[dict[str, Any]]:
    """Images of prompts, as a cell lists them; the judge saw nothing in any."""
    key = put_images(store, str(prompts), RED, len(prompts))
    texts = [prompt if isinstance(prompt, str) else prompt.text for prompt in prompts]
    return [
        {"prompt": text, "prompt_id": prompt_id(text), "seed": 0, "key": key, "hit": False}
        | {"file": f"{number:03d}.png"}
        for number, text in enumerate(texts)
    ]


def covers(store: Store, out: Path, filters: Filters | None = None) -> int:
    return len(page_of(store, out, filters).all("button", "cover"))


def test_prompts_of_packaged_concepts_are_covered_in_any_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    bare = load_concept("bare-mannequin").group("target")[:2]
    unsaid = [p for p in load_concept("bare-mannequin").group("target") if p.labels.get("implied")][
        :1
    ]
    put_cell(store, "none", images={"unrelated": images(store, *bare, *unsaid, "a clock")})
    assert covers(store, tmp_path / "out") == 3


@pytest.mark.parametrize("place", ["cell", "concepts"])
def test_prompts_of_own_concepts_are_covered(tmp_path: Path, place: str) -> None:
    store = Store(tmp_path / "runs")
    put_cell(store, "none", images={"unrelated": images(store, "a statue, unveiled", "a clock")})
    assert covers(store, tmp_path / "before") == 0
    if place == "cell":
        put_cell(store, "none", concept="other", concept_file=OWN, images={})
    else:
        (store.root / "concepts").mkdir()
        (store.root / "concepts" / "own.yaml").write_text(OWN)
    assert covers(store, tmp_path / "out", Filters(concept=("face-ada",))) == 1


def test_an_image_that_was_made_anew_is_not_cleared_by_an_old_verdict(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    listed = images(store, "a clock", "a boat")
    put_cell(store, "none", family="nudity", images={"unrelated": listed})
    assert covers(store, tmp_path / "before") == 0  # the judge saw nothing in them
    entry = store.find("pictures", listed[0]["key"])
    assert entry is not None
    store.remove(entry)
    with store.write("pictures", entry.spec) as writer:
        for name in entry.files:
            Image.new("RGB", (64, 64), (1, 2, 3)).save(writer.dir / name)
    assert covers(store, tmp_path / "out") == 2


def test_files_that_are_no_concepts_cover_nothing_and_break_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    put_cell(store, "none", images={"unrelated": images(store, "a clock")}, concept_file="{[")
    (store.root / "concepts").mkdir()
    (store.root / "concepts" / "x.yaml").write_text("family: [nudity]\n")
    assert covers(store, tmp_path / "out") == 0
