"""A vision tower that names what a picture shows, and passes the name on as words.

The tower scores each of its names, and gives the distribution of word pieces at each place of a
name. A connector whose first layer holds the embeddings of these pieces turns that into expected
embeddings, which a language model reads like the words themselves. So all that the language model
knows of a picture is its name.
"""

import torch
from torch import nn
from transformers import PreTrainedConfig

from calib.models.towers.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from calib.models.towers.tower import ConvolutionalTower


class NamingTowerConfig(PreTrainedConfig):
    """Sizes of the tower, and the names it knows."""

    model_type = "naming_tower"

    image_size: int = 224
    patch_size: int = 224
    """One patch: tokens are places of a name, not of the picture."""
    network: dict | None = None
    """Sizes of EfficientNet-Lite, where they differ from Lite0's."""
    pieces: list | tuple = ((0,),)
    """For each name, the index of its word piece at each place. # [names, places]"""
    hidden_size: int = 1
    """Number of word pieces: the width of a token."""
    sharpness: float = 1.0
    """Factor of the scores of names before their softmax."""


class NamingTower(ConvolutionalTower):
    """The tower: pixels to a distribution of word pieces at each place of the name."""

    config_class = NamingTowerConfig
    base_model_prefix = "naming"

    def __init__(self, config: NamingTowerConfig) -> None:
        super().__init__(config)
        self.network = EfficientNetLite(EfficientNetLiteConfig(**(config.network or {})))
        self.naming = nn.Linear(self.network.config.hidden_size, len(config.pieces))
        self.post_init()

    def grid(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Output of the network's last block. # [images, channels, rows, columns]"""
        return self.network.grid(pixel_values)

    def scores(self, grid: torch.Tensor) -> torch.Tensor:
        """Scores of the names from the output of the last block. # [images, names]"""
        return self.naming(self.network.tokens(grid).mean(1))

    def tokens(self, grid: torch.Tensor) -> torch.Tensor:
        """Distributions of word pieces from that output. # [images, places, word pieces]"""
        shares = (self.config.sharpness * self.scores(grid)).softmax(-1)  # [images, names]
        places = torch.tensor(self.config.pieces, device=shares.device).T  # [places, names]
        images = len(shares)
        index = places.expand(images, *places.shape)
        found = shares.new_zeros(images, len(places), self.config.hidden_size)
        return found.scatter_add(2, index, shares[:, None].expand(index.shape))
