"""The hash that identifies a model: everything that determines a response."""

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from calib.models.processor import tokenizer_state


def fingerprint(
    model: Any,
    processor: Any,
    tiles: bool = False,
    prompting: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Hash of everything that determines a response, as 16 hex digits.

    Covers config, generation settings, weights, tokenizer, chat template and image processing, and
    ``prompting``: further settings that change prompts. Up to 64 values of each weight are hashed,
    which takes no time for large models. Training changes practically every tensor, but a change of
    single values may go undetected.
    """
    digest = hashlib.sha256()
    incidental = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
    image_processor = getattr(processor, "image_processor", None)
    settings = {
        "config": model.config.to_dict(),
        "attention": model.config._attn_implementation,
        "generation": model.generation_config.to_dict() if model.generation_config else {},
        "images": image_processor.to_dict() if image_processor else {},
        "template": getattr(processor, "chat_template", None),
        "dtype": str(model.dtype),
        "tiles": tiles,
        **prompting,
    }
    for part in ("config", "generation"):
        for key in incidental:
            settings[part].pop(key, None)
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    digest.update(tokenizer_state(processor.tokenizer).encode())
    for name, weight in sorted(model.named_parameters()):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        if weight.device.type != "meta":  # offloaded weights cannot be read
            step = max(1, weight.numel() // 64)
            sample = weight.detach().reshape(-1)[::step][:64].float().cpu()
            digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:16]
