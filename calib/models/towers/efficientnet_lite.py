"""EfficientNet-Lite as a vision tower: a convolutional network without attention.

EfficientNet (arXiv 1905.11946) without squeeze-and-excitation and with ReLU6: its "Lite" form, of
which Lite0 has 3.4 million parameters without the classifier. Batch norms are folded into the
convolutions, whose biases they become. The output is the grid of the last convolution: 7 x 7 tokens
of 1280 channels for a picture of 224 x 224 pixels.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig

from calib.models.towers.tower import ConvolutionalTower

STRIDE = 32
"""Pixels per token of the grid, in each direction."""

LITE0 = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
)  # fmt: skip
"""Stages of Lite0: kernel, stride of the first block, expansion, channels, blocks."""


class EfficientNetLiteConfig(PreTrainedConfig):
    """Sizes of the tower; the defaults are those of Lite0."""

    model_type = "efficientnet_lite"

    image_size: int = 224
    patch_size: int = STRIDE
    stem_channels: int = 32
    stages: list | tuple = LITE0
    """As LITE0."""
    hidden_size: int = 1280
    """Channels of the last convolution: the width of a token."""


class Convolution(nn.Conv2d):
    """A convolution with TensorFlow's padding: with stride 2 one less on the left and the top."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        padding = 0 if stride > 1 else kernel // 2
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups)
        before = (kernel - stride) // 2
        self.pads = (before, kernel - stride - before) * 2 if stride > 1 else None

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().forward(pixels if self.pads is None else F.pad(pixels, self.pads))


class Block(nn.Module):
    """An inverted residual: expand the channels, convolve each, project to fewer channels."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, factor: int) -> None:
        super().__init__()
        width = inputs * factor
        self.expand = Convolution(inputs, width, 1, 1, 1) if factor > 1 else None
        self.depthwise = Convolution(width, width, kernel, stride, width)
        self.project = Convolution(width, outputs, 1, 1, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = inputs if self.expand is None else F.relu6(self.expand(inputs))
        hidden = self.project(F.relu6(self.depthwise(hidden)))
        return inputs + hidden if self.residual else hidden


class EfficientNetLite(ConvolutionalTower):
    """The tower: pixels to a grid of tokens, row by row."""

    config_class = EfficientNetLiteConfig
    base_model_prefix = "tower"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.stem = Convolution(3, config.stem_channels, 3, 2, 1)
        blocks, channels = [], config.stem_channels
        for kernel, stride, factor, outputs, repeats in config.stages:
            for number in range(repeats):
                blocks.append(Block(channels, outputs, kernel, 1 if number else stride, factor))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = Convolution(channels, config.hidden_size, 1, 1, 1)
        self.post_init()

    def grid(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Output of the last block, in the dtype of the weights.

        # [images, channels, rows, columns]
        """
        # Processors give float32. With channels last, a CPU takes half the time for convolutions.
        pixels = pixel_values.to(self.stem.weight.dtype, memory_format=torch.channels_last)
        hidden = F.relu6(self.stem(pixels))
        for block in self.blocks:
            hidden = block(hidden)
        return hidden

    def tokens(self, grid: torch.Tensor) -> torch.Tensor:
        """The last convolution, and its grid as tokens. # [images, rows x columns, hidden size]"""
        return F.relu6(self.head(grid)).flatten(2).transpose(1, 2)
