"""A model without its weights: config and structure, for an engine that has the weights itself."""

import contextlib
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, GenerationConfig, PreTrainedConfig


def structure_of(
    source: str, settings: PreTrainedConfig, dtype: str, attention: str, common: dict[str, Any]
) -> Any:
    """The model of a checkpoint on torch's device "meta", where parameters have no values.

    Raises as transformers does for a config that it does not know.
    """
    own = getattr(settings, "dtype", None) or torch.float32
    chosen = own if dtype == "auto" else getattr(torch, dtype)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(
            settings, dtype=chosen, attn_implementation=attention
        )
    with contextlib.suppress(OSError):  # a checkpoint may have no generation settings
        model.generation_config = GenerationConfig.from_pretrained(source, **common)
    return model
