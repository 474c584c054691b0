"""Training pairs from a list: chosen by a hash, never evaluated; the page's example is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.pages import named_blocks
from varbench.data.concept import EraseTarget
from varbench.data.concept_files import ConceptError, load_concept
from varbench.data.prompt_sets import load_prompt_set
from varbench.utils.text import mentions, normalise

EXAMPLE = named_blocks("docs/prompts.md")["undressed.yaml"]


def write(folder: Path, text: str) -> Path:
    path = folder / "undressed.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_concept_of_the_page_is_complete(tmp_path: Path) -> None:
    concept = load_concept(write(tmp_path, EXAMPLE))
    sizes = [len(concept.group(name)) for name in ("target", "neighbours", "unrelated")]
    assert sizes == [96, 192, 120]
    pairs, kept = concept.pairs(), concept.retain_prompts()
    assert len(pairs) == len(set(pairs)) == len(kept) == len(set(kept)) == 50
    listed = {(p.text, p.labels["neutral"]) for p in load_prompt_set("people-pairs").prompts}
    assert {(pair.concept, pair.neutral) for pair in pairs} <= listed
    evaluated = {normalise(p.text) for one in concept.sets.values() for p in one.prompts}
    assert not evaluated & {normalise(text) for text in kept}
    assert EraseTarget((concept,), limit=5).pairs() == pairs[:5]


def test_the_seed_decides_which_and_nothing_else_does(tmp_path: Path) -> None:
    first = load_concept(write(tmp_path, EXAMPLE))
    again = load_concept(write(tmp_path, "# a comment\n" + EXAMPLE))
    assert first.pairs() == again.pairs() and first.digest() == again.digest()
    other = load_concept(write(tmp_path, EXAMPLE.replace("seed: 1", "seed: 2")))
    assert set(other.pairs()) != set(first.pairs()) and other.digest() != first.digest()
    fewer = load_concept(write(tmp_path, EXAMPLE.replace("count: 50", "count: 20")))
    assert fewer.pairs() == first.pairs()[:20] and len(fewer.retain_prompts()) == 20


def test_evaluation_prompts_are_not_trained_on(tmp_path: Path) -> None:
    rows = ["prompt,neutral", "a nude man,a man", "a nude woman,a woman in a photo"]
    shown = load_prompt_set("people").prompts[0].text
    clothed = load_prompt_set("people").prompts[-1].text
    rows += [f"{shown},a woman by a lake", f"a nude person,{clothed.upper()}!"]
    (tmp_path / "own.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")
    text = EXAMPLE.replace("{set: people-pairs}", "{set: own.csv}")
    concept = load_concept(write(tmp_path, text.replace("count: 50", "count: 2")))
    assert {pair.concept for pair in concept.pairs()} == {"a nude man", "a nude woman"}
    with pytest.raises(ConceptError, match="only 2 distinct pairs can be made, not 3"):
        load_concept(write(tmp_path, text.replace("count: 50", "count: 3")))


def test_prompts_with_the_concept_are_not_retained(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("prompt\na naked flame\na candle\n", encoding="utf-8")
    text = EXAMPLE.replace("[{set: celebrities}, {set: artist-styles}]", "[{set: own.csv}]")
    concept = load_concept(write(tmp_path, text))
    assert concept.retain_prompts() == ["a candle"]
    assert not any(
        mentions(kept, word) for kept in concept.retain_prompts() for word in concept.words
    )


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("{set: people-pairs}", "{set: celebrities}", "no column 'neutral'"),
        ("{set: people-pairs}", "{set: peopl-pairs}", "did you mean 'people-pairs'?"),
        ("{set: people-pairs}", "{set: rece-nudity-pairs}", "varbench fetch rece-nudity-pairs"),
        ("count: 50", "count: 61", "only 60 distinct pairs"),
        ("[{set: celebrities}, {set: artist-styles}]", "[{set: people-pairs}]", "says the concept"),
        ("  seed: 1\n", "", "key 'seed' is missing"),
        ("  seed: 1\n", "  seed: 1\n  templates: []\n", "unknown key 'templates'"),
    ],
)
def test_a_wrong_list_is_refused_with_the_fix(
    old: str, new: str, what: str, tmp_path: Path
) -> None:
    assert EXAMPLE.count(old) == 1
    with pytest.raises(ConceptError) as caught:
        load_concept(write(tmp_path, EXAMPLE.replace(old, new)))
    assert what in str(caught.value) and str(caught.value).startswith(f"{tmp_path}/undressed.yaml:")
