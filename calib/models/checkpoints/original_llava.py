"""Checkpoints in the original LLaVA-1.5 format: download, recognise and rename their weights.

Checkpoints trained with the LLaVA repository's code (e.g. VLGuard, arXiv 2402.02207) declare
transformers' model type, but name their weights differently and have no processor. transformers
would load them with random weights.
"""

from collections.abc import Container
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from transformers import LlamaConfig

from calib.models.checkpoints.weight_files import PICKLED, SAFE
from calib.util.errors import CalibError, first_line
from calib.util.files import home_expanded

MARKS = ("mm_vision_tower", "mm_projector_type")
"""Config keys that only the original format has."""
TOWER = "model.vision_tower."
"""Prefix of the vision tower's weights in both formats."""

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
"""Prefix in the original format to prefixes in a loaded model; the tower's depends on the version
of transformers."""

_DECODER_KEYS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "rms_norm_eps", "rope_parameters", "attention_bias",
)  # fmt: skip
"""Settings that determine the decoder's computation besides its weights."""

_GIVEN_KEYS = (
    *_DECODER_KEYS, "rope_theta", "rope_scaling", "max_position_embeddings", "head_dim",
)  # fmt: skip
"""Settings of the original config that LlamaConfig is built from."""

_REQUIRED = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_feature": "patch",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
}
"""Settings of LLaVA-1.5 that the conversion requires."""

_DESCRIPTIONS = ("config.json", "*.index.json")
"""Files to download besides the weights."""


def is_original(config: dict[str, Any]) -> bool:
    """Whether a checkpoint's config is in the original format."""
    return any(mark in config for mark in MARKS)


def is_buffer(name: str) -> bool:
    """Whether a tensor is a buffer that models compute themselves (rotary frequencies)."""
    return name.endswith(".inv_freq")


def converted_name(name: str, known: Container[str]) -> str | None:
    """Name of a weight in a loaded model whose weights are ``known``; None if it has none."""
    for prefix, replacements in _PREFIXES.items():
        if name.startswith(prefix):
            candidates = [new + name.removeprefix(prefix) for new in replacements]
            return next((candidate for candidate in candidates if candidate in known), None)
    return None


def differences(config: dict[str, Any], skeleton: Any) -> list[str]:
    """Settings in which an original config differs from the skeleton's config, as text.

    Only settings that do not show in the shapes of the weights, but change what the same weights
    compute. Settings that the original config omits have the original code's defaults.
    """
    differing = [
        f"{key} is {config[key]!r}, not {value!r}"
        for key, value in _REQUIRED.items()
        if config.get(key, value) != value
    ]
    layer = config.get("mm_vision_select_layer", skeleton.vision_feature_layer)
    if layer != skeleton.vision_feature_layer:
        differing.append(
            f"mm_vision_select_layer is {layer!r}, not {skeleton.vision_feature_layer!r}"
        )
    # The same class on both sides, so that defaults and old setting names resolve alike.
    original = LlamaConfig(**{key: value for key, value in config.items() if key in _GIVEN_KEYS})
    expected = skeleton.get_text_config(decoder=True)
    for key in _DECODER_KEYS:
        value, other = getattr(original, key, None), getattr(expected, key, None)
        if value != other:
            differing.append(f"{key} is {value!r}, not {other!r}")
    return differing


def download_checkpoint(source: str, revision: str | None) -> tuple[Path, str | None]:
    """Folder of ``source``, downloaded if it is a hub id, and its commit on the hub.

    The commit is None for a local folder. Pickled weights are downloaded only if there are no
    safetensors.

    Raises CalibError if ``source`` is neither a folder nor a repository that can be reached.
    """
    folder = home_expanded(source)
    if folder.is_dir():
        if revision is not None:
            raise CalibError(
                "conflicting-settings",
                f"revision={revision} is for hub repositories, but source={source} is a folder. "
                "Omit revision.",
            )
        return folder, None
    try:
        for weights in (SAFE, PICKLED):
            patterns = [*_DESCRIPTIONS, weights]
            folder = Path(snapshot_download(source, revision=revision, allow_patterns=patterns))
            if any(folder.glob(weights)):
                break
    except (OSError, ValueError, HFValidationError) as error:
        raise CalibError(
            "not-found",
            f"source={source} could not be read: {first_line(error)} Give a folder, or "
            "USER/NAME on the Hugging Face hub.",
        ) from error
    return folder, folder.name
