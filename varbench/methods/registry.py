"""Methods by name. Importing this module imports no method, so listing them is instant."""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from varbench.errors import unknown
from varbench.utils.plugins import ObjectKind

if TYPE_CHECKING:
    from varbench.methods.base import Method, SamplingMethod


@dataclass(frozen=True)
class MethodEntry:
    """Where a method lives and what it is, in one line."""

    module: str
    attribute: str
    summary: str


NONE = "none"
"""The unerased model; always runs along as the baseline."""

METHODS = {
    "svare": MethodEntry("varbench.methods.svare", "Svare", "S-VARE: filtered CE + preservation"),
    "vare": MethodEntry("varbench.methods.vare", "Vare", "VARE: match on auxiliary visual tokens"),
    "naive": MethodEntry("varbench.baselines.naive", "Naive", "fine-tuning, each side its history"),
    "nft-anchor": MethodEntry(
        "varbench.baselines.controls", "NftAnchor", "naive's control: CE to the neutral roll-out"
    ),
    "nft-distill": MethodEntry(
        "varbench.baselines.controls", "NftDistill", "naive's control: KL on the concept's roll-out"
    ),
    "nft-ascent": MethodEntry(
        "varbench.baselines.controls", "NftAscent", "naive's control: unlearn, up to chance level"
    ),
    "ac": MethodEntry("varbench.baselines.ac", "Ac", "concept ablation: anchor's KL or tokens"),
    "salun": MethodEntry("varbench.baselines.salun", "Salun", "distil into the salient half"),
    "fmn": MethodEntry("varbench.baselines.fmn", "Fmn", "attention taken off the concept's tokens"),
    "ear": MethodEntry("varbench.baselines.ear", "Ear", "EAR: steer hidden states, scale by scale"),
    "obliviate": MethodEntry(
        "varbench.baselines.obliviate", "Obliviate", "KL off the concept on its own roll-outs"
    ),
    "scaleerasure": MethodEntry(
        "varbench.baselines.scaleerasure",
        "ScaleErasure",
        "sampling only: steer tokens that show it",
    ),
    "first-scale": MethodEntry(
        "varbench.baselines.first_scale",
        "FirstScaleTuning",
        "first scale alone, our reading of SACE",
    ),
    "uce": MethodEntry("varbench.baselines.uce", "Uce", "text matrices edited in closed form"),
    "rece": MethodEntry("varbench.baselines.rece", "Rece", "UCE, attacked and answered in turn"),
    "esd": MethodEntry("varbench.baselines.esd", "Esd", "guidance off the concept, trained in"),
    "sld": MethodEntry("varbench.baselines.sld", "Sld", "sampling only: safety guidance per scale"),
    "neg-prompt": MethodEntry(
        "varbench.baselines.neg_prompt", "NegPrompt", "sampling only: concept in the null's place"
    ),
}


def _checked(name: str, offered: Any) -> Any:
    """The method of a plugin; ValueError says what is wrong with it."""
    from varbench.methods.base import Method, SamplingMethod

    made = offered()
    if isinstance(made, Method) == isinstance(made, SamplingMethod):
        raise ValueError(
            "a method has id, version, Config and either erase() or guidance(); "
            "see docs/adding-a-method.md"
        )
    if made.id != name:
        raise ValueError(f"its id is {made.id!r}; give id and entry point the same name")
    if not _is_config(made.Config):
        raise ValueError("its Config is no dataclass")
    made.Config()  # raises if a setting has no default
    return made


def _is_config(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


PLUGINS = ObjectKind("method", "varbench.methods", lambda: (*METHODS, NONE), _checked)


def summaries() -> dict[str, str]:
    """Every method that can be used, with its one line; plugins are imported for theirs."""
    own = {name: entry.summary for name, entry in METHODS.items()}
    docs = {name: type(made).__doc__ or "" for name, made in PLUGINS.usable().items()}
    return own | {name: doc.strip().partition("\n")[0] for name, doc in docs.items()}


def check_method(name: str) -> None:
    """Refuse unknown names before anything is imported.

    Raises:
        UserError: lists the methods and the nearest name.
    """
    if name not in (*METHODS, NONE) and not PLUGINS.knows(name):
        raise unknown("method", name, [*METHODS, NONE, *PLUGINS.plugins()])


def load_method(name: str) -> Method | SamplingMethod:
    """The method object of a name.

    Raises:
        UserError: unknown name, or a plugin that cannot be used.
    """
    check_method(name)
    method: Method | SamplingMethod
    if name not in METHODS:
        method = PLUGINS.load(name)
        return method
    entry = METHODS[name]
    method = getattr(importlib.import_module(entry.module), entry.attribute)()
    return method


def uses_seed(name: str) -> bool:
    """Whether the edit seed decides anything: else several seeds would be one measurement."""
    if name == NONE:
        return False
    method = load_method(name)
    return bool(getattr(method, "seeded", hasattr(method, "erase")))
