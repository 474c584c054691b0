"""Erasure methods, and the public API for their authors (docs/adding-a-method.md).

S-VARE and VARE are here, all others in ``varbench/baselines`` (``baselines/`` at the top of the
repository); ``registry.py`` names them all.

Importing this package imports no torch: names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from varbench.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from varbench.data.concept import EraseTarget as EraseTarget
    from varbench.methods.base import Edit as Edit
    from varbench.methods.base import Method as Method
    from varbench.methods.base import SamplingMethod as SamplingMethod
    from varbench.methods.base import TrainingContext as TrainingContext
    from varbench.methods.base import applied as applied
    from varbench.methods.svare import SvareConfig as SvareConfig
    from varbench.methods.training.config import FineTuneConfig as FineTuneConfig
    from varbench.methods.training.config import VareConfig as VareConfig
    from varbench.methods.training.loop import fine_tune as fine_tune
    from varbench.methods.training.losses import ScaleWeights as ScaleWeights
    from varbench.methods.training.losses import centred as centred
    from varbench.methods.training.losses import filtered_cross_entropy as filtered_cross_entropy
    from varbench.methods.training.losses import preservation_loss as preservation_loss
    from varbench.methods.training.losses import probability_distance as probability_distance
    from varbench.methods.training.losses import steer_away as steer_away
    from varbench.methods.training.losses import symbol_cross_entropy as symbol_cross_entropy
    from varbench.methods.training.losses import symbol_divergence as symbol_divergence
    from varbench.methods.training.losses import symbol_entropy as symbol_entropy
    from varbench.methods.training.objective import Batch as Batch
    from varbench.methods.training.objective import DistillObjective as DistillObjective
    from varbench.methods.training.objective import Objective as Objective
    from varbench.methods.training.objective import RolloutObjective as RolloutObjective
    from varbench.methods.training.objective import SharedHistory as SharedHistory
    from varbench.methods.training.objective import Term as Term
    from varbench.methods.training.objective import batch_condition as batch_condition
    from varbench.methods.training.rollouts import AuxiliaryTokens as AuxiliaryTokens
    from varbench.methods.training.rollouts import RolloutConfig as RolloutConfig
    from varbench.methods.training.rollouts import auxiliary_tokens as auxiliary_tokens
    from varbench.methods.training.rollouts import frozen_logits as frozen_logits
    from varbench.methods.training.rollouts import pair_rollouts as pair_rollouts
    from varbench.methods.training.rollouts import sample_batch as sample_batch

__getattr__, __dir__, __all__ = lazy_exports(__name__, __file__)
