"""Methods by name. Importing this module imports no method, so listing them is instant."""

from __future__ import annotations

import dataclasses
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from varbench.errors import unknown
from varbench.utils.plugins import ObjectKind

if TYPE_CHECKING:
    from varbench.methods.base import Method, SamplingMethod


NONE = "none"
"""Name of the base model in the place of a method; every run includes it."""

METHODS = {
    "svare": ("methods.svare:Svare", "S-VARE: filtered CE + preservation"),
    "vare": ("methods.vare:Vare", "VARE: match on auxiliary visual tokens"),
    "naive": ("baselines.naive:Naive", "fine-tuning, each side its history"),
    "nft-anchor": ("baselines.controls:NftAnchor", "naive's control: CE to the neutral roll-out"),
    "nft-distill": (
        "baselines.controls:NftDistill",
        "naive's control: KL on the concept's roll-out",
    ),
    "nft-ascent": ("baselines.controls:NftAscent", "naive's control: unlearn, up to chance level"),
    "ac": ("baselines.ac:Ac", "concept ablation: anchor's KL or tokens"),
    "salun": ("baselines.salun:Salun", "distil into the salient half"),
    "fmn": ("baselines.fmn:Fmn", "attention taken off the concept's tokens"),
    "ear": ("baselines.ear:Ear", "EAR: steer hidden states, scale by scale"),
    "obliviate": ("baselines.obliviate:Obliviate", "KL off the concept on its own roll-outs"),
    "scaleerasure": (
        "baselines.scaleerasure:ScaleErasure",
        "sampling only: steer tokens that show it",
    ),
    "first-scale": (
        "baselines.first_scale:FirstScaleTuning",
        "first scale alone, our reading of SACE",
    ),
    "uce": ("baselines.uce:Uce", "text matrices edited in closed form"),
    "rece": ("baselines.rece:Rece", "UCE, attacked and answered in turn"),
    "esd": ("baselines.esd:Esd", "guidance off the concept, trained in"),
    "sld": ("baselines.sld:Sld", "sampling only: safety guidance per scale"),
    "neg-prompt": ("baselines.neg_prompt:NegPrompt", "sampling only: concept in the null's place"),
}
"""Name -> ``module:class``, the module relative to ``varbench``, and one line for the list."""


def _checked(name: str, offered: Any) -> Any:
    """The method of a plugin; raises ValueError with the reason if it is unusable."""
    from varbench.methods.base import Method, SamplingMethod

    method = offered()
    if isinstance(method, Method) == isinstance(method, SamplingMethod):
        raise ValueError(
            "a method has id, version, Config and either erase() or guidance(); "
            "see docs/adding-a-method.md"
        )
    if method.id != name:
        raise ValueError(f"its id is {method.id!r}; give id and entry point the same name")
    if not isinstance(method.Config, type) or not dataclasses.is_dataclass(method.Config):
        raise ValueError("its Config is no dataclass")
    method.Config()  # raises if a setting has no default
    return method


PLUGINS = ObjectKind("method", "varbench.methods", lambda: (*METHODS, NONE), _checked)


def summaries() -> dict[str, str]:
    """The usable methods with a one-line summary each; plugins are imported for theirs."""
    built_in = {name: summary for name, (_, summary) in METHODS.items()}
    docs = {name: type(plugin).__doc__ or "" for name, plugin in PLUGINS.usable().items()}
    return built_in | {name: doc.strip().partition("\n")[0] for name, doc in docs.items()}


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
    method = resolve_name(f"varbench.{METHODS[name][0]}")()
    return method


def uses_seed(name: str) -> bool:
    """True if the edit seed matters; otherwise several seeds would be one measurement."""
    if name == NONE:
        return False
    method = load_method(name)
    return bool(getattr(method, "seeded", hasattr(method, "erase")))
