"""ImageNet classes by torchvision's ResNet-50 with the weights IMAGENET1K_V2.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016; the recipe of the second
weights is torchvision's (top-1 80.9 % on ImageNet). Preprocessing is torchvision's own: the shorter
side to 232 (bilinear, antialiased), the middle 224 x 224, ImageNet's mean and deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from varbench.data.published.networks import network_path
from varbench.metrics.groups import Array
from varbench.scoring.scorers.images import BatchScorer, network_fingerprint, reading
from varbench.utils.images import read_rgb

NETWORK = "resnet-50"


class ImagenetScorer(BatchScorer):
    """The five likeliest of ImageNet's 1000 classes; ignores the prompts.

    `top` int16 [n, 5], the likeliest classes in order, and `top_p` float32 [n, 5]. Classes are
    indices into torchvision's list; of equally likely ones the first comes first.
    """

    version = 1

    def _load(self) -> nn.Module:
        return load_resnet(network_path(NETWORK))

    def fingerprint(self) -> str:
        return network_fingerprint(NETWORK, self.version)

    def _score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        from torchvision.models import ResNet50_Weights

        preprocess = ResNet50_Weights.IMAGENET1K_V2.transforms()
        images = torch.stack([preprocess(read_rgb(file)) for file in files])
        logits = self._network(images.to(self._device))
        chances = logits.double().softmax(dim=-1).cpu().numpy()
        top = np.argsort(-chances, axis=1, kind="stable")[:, :5]
        return {
            "top": top.astype(np.int16),
            "top_p": np.take_along_axis(chances, top, axis=1).astype(np.float32),
        }


def load_resnet(path: Path) -> nn.Module:
    """ResNet-50 from a file of torchvision's, in evaluation mode; CheckpointError for another."""
    from torchvision.models import resnet50

    network: nn.Module = resnet50(weights=None)
    with reading(path, "torchvision's ResNet-50"):
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)
