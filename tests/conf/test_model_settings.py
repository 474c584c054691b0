"""Settings of methods that a model's config gives: known names, and below what a user asks for."""

from __future__ import annotations

from typing import Any

import pytest

from varbench.conf.compose import names, resolve
from varbench.conf.schema import plain
from varbench.errors import UserError
from varbench.methods.registry import METHODS


def at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def leaves(tree: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(tree, dict):
        return {path: tree}
    return {k: v for key, part in tree.items() for k, v in leaves(part, (*path, key)).items()}


@pytest.mark.parametrize("model", names("model"))
def test_the_models_settings_reach_the_methods_they_name(model: str) -> None:
    settings = resolve(model, "smoke", "none").model.methods
    assert set(settings) <= set(METHODS)
    for method, overrides in settings.items():
        config = plain(resolve(model, "smoke", method).method)
        assert leaves(overrides), method
        for path, value in leaves(overrides).items():
            assert at(config, path) == value


def test_the_users_word_is_the_last() -> None:
    def rate(*overrides: str) -> float:
        found: float = resolve("gallery", "smoke", "svare", overrides).method.train.rate
        return found

    override = "+model.methods.svare.train.rate=0.125"
    assert rate("model.train.rate=0.5") == 0.5
    assert rate("model.train.rate=0.5", override) == 0.125
    assert rate("model.train.rate=0.5", override, "method.train.rate=0.25") == 0.25


def test_texts_and_lists_are_passed_as_they_are() -> None:
    given = '+model.methods.scaleerasure={others: "a, b {c} = d", blocks: [1, 2]}'
    config = resolve("gallery", "smoke", "scaleerasure", [given]).method
    assert config.others == "a, b {c} = d"
    assert list(config.blocks) == [1, 2]


def test_an_unknown_setting_of_a_model_is_refused() -> None:
    with pytest.raises(UserError, match=r"method\.rate"):
        resolve("gallery", "smoke", "svare", ["+model.methods.svare.rate=1"])
