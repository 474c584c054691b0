"""Models by name: loaders, sizes, and fingerprints without loading; no torch is imported here."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from varbench.errors import UserError, unknown
from varbench.models.weights import locate
from varbench.models.weights.released import Parameters, ReleasedConfig
from varbench.utils.plugins import ObjectKind

if TYPE_CHECKING:
    from varbench.models.protocol import NextScaleModel, Schedule
    from varbench.models.weights.rewrite import WeightsFile

_INFINITY, _SWITTI = "varbench.models.infinity.released", "varbench.models.switti.released"
_T5_XL, _CLIP_PAIR = 1_223_527_424, 816_081_920
_INFINITY_8B = (_INFINITY, Parameters(8_223_560_800, 152_231_024, 81_624_209, _T5_XL))
_SWITTI_512 = (_SWITTI, Parameters(2_449_040_640, 21_477_376, 64_831_235, _CLIP_PAIR))
_SWITTI_1024 = (_SWITTI, Parameters(2_449_040_640, 21_485_056, 64_831_235, _CLIP_PAIR))
MODELS = {
    "gallery": (
        "varbench.models.gallery.model", Parameters(3_560_856, 470_848, 2_586_000, 347_264),
    ),
    "infinity-125m": (_INFINITY, Parameters(113_421_408, 11_727_392, 109_970_579, _T5_XL)),
    "infinity-2b": (_INFINITY, Parameters(2_148_729_344, 55_834_688, 110_118_051, _T5_XL)),
    "infinity-8b": _INFINITY_8B,
    "infinity-8b-512": _INFINITY_8B,
    "switti": _SWITTI_512,
    "switti-1024": _SWITTI_1024,
    "switti-1024-ar": _SWITTI_1024,
    "switti-ar": _SWITTI_512,
}  # fmt: skip
"""Name -> module with ``load(config, device)``, and ``fingerprint()`` unless the model's config is
a :class:`ReleasedConfig`; ``weights_file(config)`` for exports. Then the numbers of parameters,
counted on the modules (a test holds them)."""


@dataclass(frozen=True)
class Card:
    """A model's size and whether its weights are on this machine.

    Attributes:
        parameters: of all networks that generation needs, the text encoders included.
        fp32, bf16: bytes of all weights in float32, and with the precisions of the released
            model (blocks in bfloat16, text encoder as configured); None where not offered.
        generate: bytes of weights at the model's own precision, plus the keys and values of one
            guided image: the least that generating needs; None for weights in the package.
        place: where the weights are looked for.
        missing: files that are missing there.
    """

    parameters: int
    fp32: int | None
    bf16: int | None
    generate: int | None
    place: str
    missing: tuple[str, ...]


def card(config: Any) -> Card:
    """The card of a packaged model config, by the sizes that the model was released with."""
    _, parameters = MODELS[config.name]
    if not isinstance(config, ReleasedConfig):
        return Card(parameters.total, 4 * parameters.total, None, None, "the package", ())
    built_in: Any = config
    text = built_in.text_precision
    as_released = parameters.bytes("bf16", text) if "bf16" in built_in.precisions else None
    return Card(
        parameters.total,
        parameters.bytes("fp32", "fp32"),
        as_released,
        parameters.bytes(built_in.precision, text) + built_in.cache_bytes(),
        locate.place(config),
        tuple(
            f"{part.source.repository}/{name}"
            for part in locate.find(config)
            for name in part.missing
        ),
    )


def _checked(name: str, offered: Any) -> Any:
    """The module of a plugin; ValueError if it is not a model."""
    config: Any = getattr(offered, "Config", None)
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise ValueError("a model has a dataclass Config, derived from ModelConfig")
    required = ["load"] if issubclass(config, ReleasedConfig) else ["load", "fingerprint"]
    if lacking := [name for name in required if not callable(getattr(offered, name, None))]:
        raise ValueError(f"a model has {', '.join(required)}; it lacks {', '.join(lacking)}")
    own_name = getattr(config(), "name", None)
    if own_name != name:
        raise ValueError(f"its Config's name is {own_name!r}; give Config and entry point one name")
    return offered


PLUGINS = ObjectKind("model", "varbench.models", lambda: MODELS, _checked)


def _module(name: str) -> Any:
    if name in MODELS:
        return importlib.import_module(MODELS[name][0])
    if PLUGINS.knows(name):
        return PLUGINS.load(name)
    raise unknown("model", name, [*MODELS, *PLUGINS.plugins()])


def load_model(config: Any, device: str) -> NextScaleModel:
    """Load a model by its config (``conf/model/NAME.yaml``) onto a device."""
    model: NextScaleModel = _module(config.name).load(config, device)
    return model


def offers(config: Any, capability: type) -> bool | None:
    """True if a model's class has a capability (``capabilities.py``); the model is not loaded.

    None if the module's ``load`` does not declare which class it returns.
    """
    try:
        declared = typing.get_type_hints(_module(config.name).load).get("return")
    except (NameError, TypeError):  # an annotation that only a type checker can read
        return None
    if not isinstance(declared, type) or getattr(declared, "_is_protocol", False):
        return None
    return issubclass(declared, capability)


def schedule(config: Any) -> Schedule | None:
    """A model's token grids, without loading it; None if its module has no ``schedule``."""
    if isinstance(config, ReleasedConfig):
        return config.schedule()
    make = getattr(_module(config.name), "schedule", None)
    return make(config) if make else None


def fingerprint(config: Any) -> str:
    """Hash of a model's weights files and architecture (16 hex digits), without loading it.

    Raises:
        CheckpointError: a released model's files are missing or damaged.
    """
    if isinstance(config, ReleasedConfig):
        return locate.fingerprint(config)
    digest: str = _module(config.name).fingerprint()
    return digest


def weights_file(config: Any) -> WeightsFile:
    """The file that a model's trainable weights come from.

    Raises:
        UserError: files are missing, or a plugin's model has no ``weights_file``.
    """
    module = _module(config.name)
    if not hasattr(module, "weights_file"):
        raise UserError(
            f"model {config.name!r} cannot be exported as weights: its module lacks weights_file"
        )
    file: WeightsFile = module.weights_file(config)
    return file


def provenance(config: Any) -> dict[str, Any]:
    """Repositories, commits and SHA-256 of the files that a released model is loaded from.

    Empty for a model whose weights are in the package: its fingerprint and varbench's version
    identify them.
    """
    return locate.provenance(config) if isinstance(config, ReleasedConfig) else {}


def reference(name: str) -> Any:
    """The module with ``reference_image`` and ``VERSION`` of a model's world, or None.

    Only an embedded world can draw real images; others have statistics files instead.
    """
    if name != "gallery":
        return None
    return importlib.import_module("varbench.models.gallery.world.render")
