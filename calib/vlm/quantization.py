"""Weights in four or eight bits, by bitsandbytes."""

import importlib.util
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from calib.config import ModelConfig
from calib.errors import CalibError


def quantized_by(config: ModelConfig) -> dict[str, Any]:
    """Arguments of from_pretrained that narrow the weights while they are loaded.

    Raises CalibError without bitsandbytes or a GPU.
    """
    if config.quantization is None:
        return {}
    said = f"model.quantization={config.quantization}"
    if importlib.util.find_spec("bitsandbytes") is None:
        raise CalibError(
            f"{said} needs the package bitsandbytes: pip install 'calib[quant]'. Or leave it away, "
            "with model.dtype=bfloat16."
        )
    if not torch.cuda.is_available():
        raise CalibError(
            f"{said} needs a GPU, and there is none here. Leave it away, and take a smaller "
            "checkpoint or model.dtype=bfloat16."
        )
    if config.quantization == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    computed = None if config.dtype == "auto" else config.dtype
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=computed
        )
    }
