"""Checkpoints in LLaVA-1.5's original format: find, recognise and rename their weights.

The checkpoints of the LLaVA repository and of those who trained with it (VLGuard, arXiv 2402.02207)
have transformers' own model type in their config, but other names and no processor: transformers
would load them with random weights.
"""

from collections.abc import Container
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from transformers import LlamaConfig

from calib.models.shards import PICKLED, SAFE
from calib.util.errors import CalibError

MARKS = ("mm_vision_tower", "mm_projector_type")
"""Settings that only the original format has."""
TOWER = "model.vision_tower."
"""Where the vision tower's weights are, in both formats."""

_PREFIXES = {
    "model.vision_tower.vision_tower.vision_model.": ("model.vision_tower.",
                                                      "model.vision_tower.vision_model."),
    "model.mm_projector.0.": ("model.multi_modal_projector.linear_1.",),
    "model.mm_projector.2.": ("model.multi_modal_projector.linear_2.",),
    "model.embed_tokens.": ("model.language_model.embed_tokens.",),
    "model.layers.": ("model.language_model.layers.",),
    "model.norm.": ("model.language_model.norm.",),
    "lm_head.": ("lm_head.",),
}  # fmt: skip
"""Beginnings of names, and what they are in a loaded model; the tower's differs by version."""

_DECODER = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "rms_norm_eps", "rope_parameters", "attention_bias",
)  # fmt: skip
"""What a decoder computes by, besides its weights."""

_FIXED = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_feature": "patch",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
}
"""What LLaVA-1.5 does and this conversion takes for granted."""


def is_original(config: dict[str, Any]) -> bool:
    """Whether a checkpoint's config is of the original format."""
    return any(mark in config for mark in MARKS)


def is_buffer(name: str) -> bool:
    """Whether a name is of something that models compute for themselves: rotary frequencies."""
    return name.endswith(".inv_freq")


def converted_name(name: str, known: Container[str]) -> str | None:
    """What a weight is called in a loaded model whose weights are ``known``; None if nothing."""
    for prefix, replacements in _PREFIXES.items():
        if name.startswith(prefix):
            found = [new + name.removeprefix(prefix) for new in replacements]
            return next((one for one in found if one in known), None)
    return None


def differences(config: dict[str, Any], skeleton: Any) -> list[str]:
    """What the original config says otherwise than the config of the model it is to become.

    Only settings that weights do not show: with another value the same weights would compute
    something else. Settings that the original leaves out are the original code's defaults.
    """
    found = [
        f"{key} is {config[key]!r}, not {value!r}"
        for key, value in _FIXED.items()
        if config.get(key, value) != value
    ]
    layer = config.get("mm_vision_select_layer", skeleton.vision_feature_layer)
    if layer != skeleton.vision_feature_layer:
        found.append(f"mm_vision_select_layer is {layer!r}, not {skeleton.vision_feature_layer!r}")
    # The same class on both sides: defaults and old names of settings are filled in alike.
    ours = LlamaConfig(**{k: v for k, v in config.items() if k in _GIVEN})
    theirs = skeleton.get_text_config(decoder=True)
    for key in _DECODER:
        one, other = getattr(ours, key, None), getattr(theirs, key, None)
        if one != other:
            found.append(f"{key} is {one!r}, not {other!r}")
    return found


_GIVEN = (*_DECODER, "rope_theta", "rope_scaling", "max_position_embeddings", "head_dim")


DESCRIPTION = ("config.json", "*.index.json")


def fetched(source: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder of ``source``, downloaded if it is a hub id, and the commit it is there at.

    Pickled weights are downloaded only where there are no others. Raises CalibError when it is
    neither a folder nor a repository that can be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise CalibError(f"revision is one of the hub, and source={source} is a folder.")
        return folder, None
    try:
        for weights in (SAFE, PICKLED):
            patterns = [*DESCRIPTION, weights]
            folder = Path(snapshot_download(source, revision=revision, allow_patterns=patterns))
            if any(folder.glob(weights)):
                break
    except (OSError, ValueError, HFValidationError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CalibError(
            f"source={source} could not be read: {first} Give a folder, or USER/NAME on the "
            "Hugging Face hub."
        ) from error
    return folder, folder.name
