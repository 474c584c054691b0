"""Several concepts in one edit: their pairs, what they retain, and what is tested of each."""

from __future__ import annotations

import pytest

from varbench.data.concept import EraseTarget
from varbench.data.concept_files import load_concept
from varbench.errors import UserError
from varbench.pipeline.plan import Request, plan

TOGETHER = "face-ada+style-marlo-tessera"


def request(concept: str, *overrides: str) -> Request:
    return Request("gallery", ("svare",), (concept,), "smoke", (0,), overrides)


def test_one_concept_is_itself() -> None:
    ada = load_concept("face-ada")
    erased = EraseTarget((ada,))
    assert erased.digest() == ada.training_digest()
    assert erased.pairs() == ada.pairs()
    assert erased.retain_prompts() == ada.retain_prompts()
    assert EraseTarget((ada,), limit=5).pairs() == ada.pairs()[:5]
    assert EraseTarget((ada,), limit=5).digest() != ada.training_digest()


def test_pairs_come_in_turn_and_no_neutral_side_says_an_erased_concept() -> None:
    ada, mosaic = load_concept("face-ada"), load_concept("style-marlo-tessera")
    pairs = EraseTarget((ada, mosaic)).pairs()
    assert "ada" in pairs[0].concept.split()
    assert any(word in pairs[1].concept for word in mosaic.words)
    said = [p.neutral for p in ada.pairs() if any(word in p.neutral for word in mosaic.words)]
    assert said  # else this test shows nothing
    for pair in pairs:
        assert not any(word in pair.neutral for word in ("mosaic", "marlo tessera", "tiles"))
        assert "ada" not in pair.neutral.split()
    assert all("ada" not in text.split() for text in EraseTarget((ada, mosaic)).retain_prompts())


def test_each_concept_is_tested_without_the_prompts_of_the_others() -> None:
    cells = plan(request(TOGETHER))
    assert [(c.method, c.label) for c in cells] == [
        ("none", f"face-ada of {TOGETHER}"),
        ("svare", f"face-ada of {TOGETHER}"),
        ("none", f"style-marlo-tessera of {TOGETHER}"),
        ("svare", f"style-marlo-tessera of {TOGETHER}"),
    ]
    mosaic = load_concept("style-marlo-tessera")
    for cell in cells[:2]:
        groups = cell.groups()
        for name in ("neighbours", "unrelated"):
            assert not any(mosaic.depicts(row.prompt) for row in groups[name])
    alone = plan(request("face-ada"))[1]
    assert any(mosaic.depicts(row.prompt) for row in alone.groups()["neighbours"])


def test_a_limit_changes_the_edit_and_its_name_in_results_but_not_the_unerased_model() -> None:
    none, five = plan(request("face-ada", "pairs=5"))
    base, whole = plan(request("face-ada"))
    assert len(five.erased.pairs()) == 5
    assert five.config_hash() != whole.config_hash()
    assert five.erased.digest() != whole.erased.digest()
    assert none.config_hash() == base.config_hash()
    assert none.erased.digest() == base.erased.digest()


@pytest.mark.parametrize(
    ("concept", "overrides", "message"),
    [
        ("face-ada+face-ada", (), "twice"),
        ("face-ada+nobody", (), "unknown concept 'nobody'"),
        ("face-ada", ("pairs=-1",), "must not be negative"),
        ("face-ada", ("pairs=many",), "pairs"),
    ],
)
def test_bad_input_is_refused(concept: str, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(request(concept, *overrides))


def test_tuning_prompts_are_never_test_prompts() -> None:
    for name in ("face-ada", "bare-mannequin", "style-marlo-tessera", "church"):
        asked = Request("gallery", (), (name,), "tune", (0,))
        (tune,) = plan(asked)
        (test,) = plan(Request("gallery", (), (name,), "smoke", (0,)))
        for group, rows in tune.groups().items():
            there = {row.prompt.id for row in test.groups()[group]}
            assert rows
            assert not there & {row.prompt.id for row in rows}


def test_methods_without_randomness_have_one_seed() -> None:
    asked = Request("gallery", ("svare", "uce", "sld"), ("face-ada",), "smoke", (0, 1, 2))
    seeds = [(cell.method, cell.seed) for cell in plan(asked)]
    assert seeds == [("none", 0), ("svare", 0), ("svare", 1), ("svare", 2), ("uce", 0), ("sld", 0)]
