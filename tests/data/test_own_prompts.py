"""Our own prompt sets: cards tell the truth, every combination is there, the wording is plain."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import product

import pytest

from tests.helpers.paths import ROOT
from varbench.data.prompt import PromptSet
from varbench.data.prompt_sets import licence, list_prompt_sets, load_prompt_set
from varbench.utils.files import packaged
from varbench.utils.text import mentions, normalise

OWN = ["artist-styles", "celebrities", "objects", "people", "people-pairs"]
IMAGENETTE = {
    "tench", "English springer", "cassette player", "chain saw", "church", "French horn",
    "garbage truck", "gas pump", "golf ball", "parachute",
}  # fmt: skip
TABLE = re.compile(r"^\| (\S[^|]*) \| prompts \|\n\|---\|---\|\n((?:\|.*\|\n)+)", re.MULTILINE)


def card_of(name: str) -> str:
    return (packaged("prompts") / f"{name}.md").read_text(encoding="utf-8")


def texts(prompt_set: PromptSet, **labels: str) -> list[str]:
    return [
        prompt.text
        for prompt in prompt_set.prompts
        if all(prompt.labels[column] == value for column, value in labels.items())
    ]


@pytest.mark.parametrize("name", list_prompt_sets())
def test_the_card_has_the_counts_and_the_hash_of_the_file(name: str) -> None:
    prompt_set, card = load_prompt_set(name), card_of(name)
    data = (packaged("prompts") / f"{name}.csv").read_bytes()
    assert f"- **SHA-256**: {hashlib.sha256(data).hexdigest()}\n" in card
    assert f"- **Prompts**: {len(prompt_set.prompts)}, all distinct" in card
    assert "- **Origin**: " in card and licence(name) == "Apache-2.0"
    tables = TABLE.findall(card)
    assert tables
    for column, lines in tables:
        written = dict(line.strip("|").split("|") for line in lines.splitlines())
        counted = Counter(prompt.labels[column] or "(none)" for prompt in prompt_set.prompts)
        assert {k.strip(): int(v) for k, v in written.items()} == counted, column


def test_our_own_sets_are_all_there() -> None:
    assert set(OWN) <= set(list_prompt_sets())


def test_every_name_is_in_every_template() -> None:
    prompt_set = load_prompt_set("celebrities")
    names, templates = prompt_set.values("identity"), prompt_set.values("template")
    assert len(names) == 40 and len(templates) == 6
    expected = [t.format(name) for name, t in product(names, templates)]
    assert [prompt.text for prompt in prompt_set.prompts] == expected


def test_every_painter_has_the_same_subjects() -> None:
    prompt_set = load_prompt_set("artist-styles")
    subjects = prompt_set.values("subject")
    assert texts(prompt_set, style="") == list(subjects)
    endings = {""}
    for artist in filter(None, prompt_set.values("style")):
        mine = texts(prompt_set, style=artist)
        assert len(mine) == len(subjects)
        for text, subject in zip(mine, subjects, strict=True):
            assert text.startswith(subject) and text.endswith(artist)
            endings.add(text.removeprefix(subject).removesuffix(artist))
    assert endings == {"", " in the style of ", ", painted by ", ", art inspired by "}


def test_objects_have_synonyms_that_do_not_say_them_and_neighbours_that_are_none_of_them() -> None:
    prompt_set = load_prompt_set("objects")
    classes = {p.labels["object"] for p in prompt_set.prompts if not p.labels["near"]}
    assert classes == IMAGENETTE
    for label in classes:
        assert len(texts(prompt_set, object=label, wording="name")) == 6
        synonyms = texts(prompt_set, object=label, wording="synonym")
        assert len(synonyms) == 12 and not any(mentions(text, label) for text in synonyms)
        near = [p for p in prompt_set.prompts if p.labels["near"] == label]
        assert len(near) == 18
        assert len({p.labels["object"] for p in near} - classes) == 3
        assert not any(mentions(p.text, other) for p in near for other in classes)


def test_people_are_said_to_be_bare_in_plain_words_only() -> None:
    prompt_set = load_prompt_set("people")
    for prompt in prompt_set.prompts:
        implied, bare = prompt.labels["implied"], prompt.labels["state"] == "nude"
        assert mentions(prompt.text, "nude") == (bare and not implied)
        assert implied in prompt.text and prompt.labels["clothing"] in prompt.text
        assert bool(prompt.labels["clothing"]) != bare
    words = {word for p in prompt_set.prompts for word in normalise(p.text).split()}
    assert not words & {"girl", "boy", "young", "teen", "sexy", "naked", "erotic"}
    cells = Counter((p.labels["clothing"], p.labels["person"]) for p in prompt_set.prompts)
    assert {n for (clothing, _), n in cells.items() if clothing} == {8}


def test_pairs_differ_in_the_concept_alone_and_are_never_evaluated() -> None:
    pairs, people = load_prompt_set("people-pairs"), load_prompt_set("people")
    evaluated = {normalise(prompt.text) for prompt in people.prompts}
    assert not set(pairs.values("place")) & set(people.values("place"))
    for pair in pairs.prompts:
        neutral = pair.labels["neutral"]
        assert mentions(pair.text, "nude") or mentions(pair.text, "naked")
        assert not mentions(neutral, "nude") and not mentions(neutral, "naked")
        for shared in (pair.labels["place"], pair.labels["person"]):
            assert mentions(pair.text, shared) and mentions(neutral, shared)
        assert not {normalise(pair.text), normalise(neutral)} & evaluated


def test_the_page_has_the_counts_and_labels() -> None:
    page = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
    for name in OWN:
        found = load_prompt_set(name)
        labels = ", ".join(f"`{column}`" for column in found.columns)
        assert f"\n| `{name}` | {len(found.prompts)} | {labels} |" in page
    gallery = [load_prompt_set(one) for one in list_prompt_sets() if one.startswith("gallery-")]
    assert f"\n| `gallery-*` | {sum(len(one.prompts) for one in gallery)} |" in page
