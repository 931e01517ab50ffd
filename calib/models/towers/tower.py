"""What the towers share: no attention, and tokens made from the grid of a convolutional network."""

from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling


class ConvolutionalTower(PreTrainedModel):
    """Pixels to tokens, by way of a grid: subclasses have ``grid`` and ``tokens``."""

    main_input_name = "pixel_values"
    input_modalities: ClassVar = ("image",)
    # It has no attention, so that every implementation of attention suits it.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules: ClassVar = ["Block"]

    def grid(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Output of the network's last block. # [images, channels, rows, columns]"""
        raise NotImplementedError

    def tokens(self, grid: torch.Tensor) -> torch.Tensor:
        """Tokens from that output. # [images, tokens, hidden size]"""
        raise NotImplementedError

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """The tokens, as the only entry of hidden_states: use vision_feature_layer=-1."""
        tokens = self.tokens(self.grid(pixel_values))
        return BaseModelOutputWithPooling(
            last_hidden_state=tokens, pooler_output=tokens.mean(1), hidden_states=(tokens,)
        )
