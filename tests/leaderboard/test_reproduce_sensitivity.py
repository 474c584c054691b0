"""Small changes to the trained methods that `varbench check` must find in the published slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch

from tests.helpers.paths import ROOT
from varbench.leaderboard.reproduce import Change, changes, reproduce
from varbench.leaderboard.results import Result, read
from varbench.methods.training import losses
from varbench.pipeline.context import RunContext
from varbench.store import Store

SLICE = ROOT / "results" / "regression" / "gallery" / "face-ada"


def published(method: str) -> Result:
    (path,) = SLICE.glob(f"{method}.*json")
    return read(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store for all tests: the base model is measured once, and no two tests make one edit."""
    return Store(tmp_path_factory.mktemp("sensitivity") / "store")


def changes_of(store: Store, result: Result, command: Callable[[str], str] = str) -> list[Change]:
    """Changes when a result is measured again with another command that counts as the same."""
    runs = [r.model_copy(update={"command": command(r.command)}) for r in result.provenance.runs]
    provenance = result.provenance.model_copy(update={"runs": tuple(runs)})
    altered = result.model_copy(update={"provenance": provenance})
    (again,) = reproduce([altered], RunContext(store))
    return changes([result], [again.model_copy(update={"config": result.config})])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["svare", "naive"])
def test_half_the_steps_are_found(store: Store, method: str) -> None:
    assert changes_of(store, published(method), lambda c: c.replace("steps=50", "steps=25"))


@pytest.mark.slow
def test_a_lower_rate_is_found(store: Store) -> None:
    assert changes_of(store, published("svare"), lambda c: c.replace("rate=2.5e-4", "rate=2e-4"))


@pytest.mark.slow
def test_an_inverted_filter_is_found(store: Store) -> None:
    with inverted_filter():
        assert changes_of(store, published("svare"))


@contextmanager
def inverted_filter() -> Iterator[None]:
    """S-VARE trains the tokens that are right instead of those that are wrong."""
    original = losses.token_filter

    def inverted(*args: Any, **kwargs: Any) -> torch.Tensor:
        return ~original(*args, **kwargs)

    with mock.patch.object(losses, "token_filter", inverted):
        yield
