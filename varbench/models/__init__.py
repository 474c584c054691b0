"""Next-scale models, and the public API for authors of a model or a model family (docs/models.md).

Importing this package imports no torch: names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from varbench.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from varbench.models.capabilities import CompletesPrefix as CompletesPrefix
    from varbench.models.capabilities import CutsRollouts as CutsRollouts
    from varbench.models.capabilities import HasBlocks as HasBlocks
    from varbench.models.capabilities import HasHidden as HasHidden
    from varbench.models.capabilities import HasSoftPrompts as HasSoftPrompts
    from varbench.models.capabilities import HasTextAttention as HasTextAttention
    from varbench.models.capabilities import HasTextSpaces as HasTextSpaces
    from varbench.models.capabilities import SeesQueries as SeesQueries
    from varbench.models.capabilities import TextAttention as TextAttention
    from varbench.models.capabilities import TextKeys as TextKeys
    from varbench.models.capabilities import TextSpace as TextSpace
    from varbench.models.capabilities import require as require
    from varbench.models.common.execution import Execution as Execution
    from varbench.models.common.execution import HasExecution as HasExecution
    from varbench.models.common.keyed_random import uniforms as uniforms
    from varbench.models.common.layers import attend_by_scale as attend_by_scale
    from varbench.models.common.layers import rotate as rotate
    from varbench.models.common.sampling import ClassifierFreeGuidance as ClassifierFreeGuidance
    from varbench.models.common.sampling import draw as draw
    from varbench.models.common.sampling import filter_probabilities as filter_probabilities
    from varbench.models.common.var_model import VarModel as VarModel
    from varbench.models.protocol import PARTS as PARTS
    from varbench.models.protocol import CapabilityError as CapabilityError
    from varbench.models.protocol import Condition as Condition
    from varbench.models.protocol import Guidance as Guidance
    from varbench.models.protocol import NextScaleModel as NextScaleModel
    from varbench.models.protocol import Rollout as Rollout
    from varbench.models.protocol import Sampling as Sampling
    from varbench.models.protocol import Schedule as Schedule
    from varbench.models.protocol import at_once as at_once
    from varbench.models.protocol import trainable as trainable
    from varbench.models.registry import load_model as load_model
    from varbench.models.text.cache import CachedTextEncoder as CachedTextEncoder
    from varbench.models.text.encoders import PromptEncoder as PromptEncoder
    from varbench.models.text.encoders import PromptFeatures as PromptFeatures
    from varbench.models.weights.checkpoint import Format as Format
    from varbench.models.weights.checkpoint import load_new as load_new
    from varbench.models.weights.locate import locate as locate
    from varbench.models.weights.released import ReleasedConfig as ReleasedConfig
    from varbench.models.weights.released import Source as Source
    from varbench.models.weights.rewrite import WeightsFile as WeightsFile
    from varbench.models.weights.tensor_files import read_tensors as read_tensors

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
