"""Alignment of concept and neutral rows: by hand, by brute force, and the weights."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.helpers.switti_tiny import tiny_model as switti_model
from tests.helpers.tiny import TinyConcept, tiny_model
from varbench.baselines.token_alignment import align, counterparts, problems
from varbench.models.protocol import CapabilityError

END = "</s>"


@pytest.mark.parametrize(
    ("concept", "neutral", "expected"),
    [
        ("a red cat", "a blue cat", "0 1 2 3"),
        ("van gogh cat", "old cat", "0 0 1 2"),  # several tokens for one
        ("a b c d cat", "x y cat", "1 1 0 1 2 3"),  # tokens to spare take the last of the anchor
        ("red cat", "very dark blue cat", "2 3 4"),  # the anchor's first tokens have no partner
        ("a cat by ada", "a cat", "0 1 - - 2"),  # nothing in its place
        ("ada", "", "- 0"),  # an empty prompt has its end of text
        ("", "a cat", "2"),
        ("", "", "0"),
        ("ada and ada smile", "eve and eve smile", "0 1 2 3 4"),  # said twice
        ("ada smiles by ada", "eve smiles", "0 1 - - 2"),
        ("a cat ada", "a cat eve", "0 1 2 3"),  # just before the end of text
        ("ada of the the sea", "eve of the sea", "0 1 - 2 3 4"),
    ],
)
def test_alignment_by_hand(concept: str, neutral: str, expected: str) -> None:
    found = align([*concept.split(), END], [*neutral.split(), END])
    assert found == [None if n == "-" else int(n) for n in expected.split()]


def by_brute_force(before: int, concept: int, neutral: int, after: int) -> list[int | None]:
    """One run replaced by another, all other tokens alike and distinct."""
    partners: list[int | None] = []
    for place in range(before + concept + after + 1):
        from_the_end = before + concept - 1 - place
        if place < before:
            partners.append(place)
        elif place >= before + concept:
            partners.append(place - concept + neutral)
        elif neutral == 0:
            partners.append(None)
        elif from_the_end >= neutral:
            partners.append(before + neutral - 1)
        else:
            partners.append(before + neutral - 1 - from_the_end)
    return partners


def test_alignment_by_brute_force() -> None:
    for before, concept, neutral, after in itertools.product(
        range(3), range(5), range(5), range(3)
    ):
        start = [f"start{i}" for i in range(before)]
        rest = [*(f"rest{i}" for i in range(after)), END]
        ours = [*start, *(f"concept{i}" for i in range(concept)), *rest]
        theirs = [*start, *(f"neutral{i}" for i in range(neutral)), *rest]
        assert align(ours, theirs) == by_brute_force(before, concept, neutral, after)


def test_every_token_has_a_partner_and_end_of_text_has_end_of_text() -> None:
    words = ("a", "b", "c")
    prompts = [p for n in range(4) for p in itertools.product(words, repeat=n)]
    for ours, theirs in itertools.product(prompts, repeat=2):
        partners = align([*ours, END], [*theirs, END])
        assert len(partners) == len(ours) + 1
        assert partners[-1] == len(theirs)
        assert all(number is None or 0 <= number <= len(theirs) for number in partners)
        if ours == theirs:
            assert partners == list(range(len(ours) + 1))


def test_contexts_are_rows_of_both_sides_and_prompts_weigh_alike() -> None:
    model, concept = tiny_model(), TinyConcept()
    found = problems(model, concept, ("memory", "rows"), "uce")
    assert set(found) == {"memory", "rows"}
    erased, kept = found["rows"].erased, found["rows"].kept
    pairs = concept.pairs()
    ours = model.text_spaces(model.encode([p.concept for p in pairs]))["rows"].rows
    theirs = model.text_spaces(model.encode([p.neutral for p in pairs]))["rows"].rows
    for i in range(len(pairs)):
        for place in range(4):  # a, red, the thing, end of text
            assert torch.equal(erased.rows[4 * i + place], ours[i, place].double())
            assert torch.equal(erased.targets[4 * i + place], theirs[i, place].double())
    assert torch.allclose(erased.weights, torch.full((24,), 1 / 24, dtype=torch.float64))

    # Prompts of what must stay: 4 retained, 6 neutral, the empty one, and as many null texts.
    assert len(kept.rows) == 2 * (4 * 4 + 6 * 4 + 1)
    assert torch.equal(kept.rows, kept.targets)
    assert float(kept.weights.sum()) == pytest.approx(1.0)
    empty = model.text_spaces(model.encode([""]))["rows"].rows[0, 0].double()
    place = (kept.rows == empty).all(dim=1) & (kept.weights > 1 / 23)
    assert int(place.sum()) == 1  # as much weight on its one row as others have on four
    null = model.transformer.text_norm(model.transformer.cfg_uncond)
    shown = [bool((kept.rows == row.detach().double()).all(dim=1).any()) for row in null]
    assert shown == [True] * 4 + [False] * 8  # as many rows as the longest prompt


def test_rows_without_counterpart_get_the_mean_row() -> None:
    rows = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    found = counterparts(rows, [0, None, 1])
    assert found.tolist() == [[1.0, 0.0], [2.0, 2.0], [3.0, 4.0]]


def test_a_model_without_text_spaces_is_refused() -> None:
    with pytest.raises(CapabilityError, match="uce needs a model that offers HasTextSpaces"):
        problems(switti_model(), TinyConcept(), ("memory",), "uce")
    with pytest.raises(CapabilityError, match="what reads soup, which tiny does not have"):
        problems(tiny_model(), TinyConcept(), ("soup",), "uce")
