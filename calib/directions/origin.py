"""The weights and settings of the model that a direction was read from, compared field by field.

A fingerprint (VLM.fingerprint) is equal only where every response is equal. A direction means the
same in more places: wherever the weights are the same. So a direction file also records the hash of
the weights, which does not depend on how they are loaded or split into files, and each setting that
changes activations.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from calib.directions.weights import weights_hash
from calib.models.load import VLM
from calib.models.processor import tokenizer_state
from calib.util.errors import CalibError
from calib.util.listing import shortened

Origin = dict[str, Any]
"""Weights and settings by name, as JSON: texts, and tables for the config and the pictures."""

WEIGHTS = "weights"
_NOTED = ("attention", "device", "checkpoint", "generation.")
"""Fields, or the beginnings of their names, whose differences are only noted: they change
activations by rounding errors, or not at all."""
_SETTINGS = {
    "dtype": "model.dtype",
    "quantization": "model.quantization",
    "template": "model.chat_template",
    "template_kwargs": "model.chat_template_kwargs",
    "system_place": "model.system_place",
    "pictures.tiles": "model.tiles",
    "pictures.scaled_down_to": "model.max_pixels",
    "pictures.size.longest_edge": "model.max_pixels",
    "pictures.size.shortest_edge": "model.min_pixels",
    "pictures.max_patches": "model.max_pixels",
}
"""Settings of calib that decide a field."""
_INCIDENTAL = (
    "_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures",
    "quantization_config", "id2label", "label2id",
)  # fmt: skip
_MOST_SHOWN = 8
_LONGEST = 60
"""Characters of a value in a message."""


def origin_of(vlm: VLM) -> Origin:
    """The weights and settings of a loaded model, as a direction file and run.json record them."""
    config, template = vlm.model.config, getattr(vlm.processor, "chat_template", None)
    images = getattr(vlm.processor, "image_processor", None)
    generation = vlm.model.generation_config
    return {
        WEIGHTS: weights_hash(vlm.checkpoint, vlm.revision, vlm.model),
        "dtype": str(vlm.model.dtype).removeprefix("torch."),
        "quantization": _quantization(config),
        "attention": str(config._attn_implementation),
        "device": vlm.device.type,
        "template": _hash(template),
        "template_kwargs": json.dumps(vlm.template_kwargs, sort_keys=True, default=str),
        "system_place": vlm.system_place,
        "tokenizer": _hash(tokenizer_state(vlm.processor.tokenizer)),
        "pictures": {
            **_plain(images.to_dict() if images else {}),
            "tiles": vlm.tiles,
            "scaled_down_to": vlm.max_pixels or "none",
        },
        "config": _plain(config.to_dict()),
        "generation": _plain(generation.to_dict() if generation else {}),
    }


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Both values of each field that differs, by dotted name.

    Fields that one side lacks, or has without a value, are left out: another version of
    transformers records more or fewer of them.
    """
    first, second = dict(_flat(there)), dict(_flat(now))
    return {
        name: (value, second[name])
        for name, value in first.items()
        if value is not None and second.get(name) not in (None, value)
    }


def shown(different: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Each difference as ``name: there → now``; at most eight, and the number of the others."""
    lines = [f"{name}: {_short(a)} → {_short(b)}" for name, (a, b) in different.items()]
    return shortened(lines, _MOST_SHOWN)


def require_same_origin(
    what: str, there: Mapping[str, Any], checkpoint: str, same_fingerprint: bool, vlm: VLM
) -> list[str]:
    """Check a model against the origin ``there`` of something that was made with ``checkpoint``.

    ``what`` opens the message, e.g. "the direction d.safetensors". With ``same_fingerprint``, only
    the device can differ. Returns a note if settings differ that change activations by rounding
    only, or that ``vlm.accept_directions`` accepts.

    Raises CalibError (mismatch) for other weights, and for other settings that are not accepted.
    """
    if same_fingerprint:
        now: Mapping[str, Any] = {"device": vlm.device.type}
    else:
        now = origin_of(vlm)
    different = differences({**there, "checkpoint": checkpoint}, {
        **now, "checkpoint": vlm.checkpoint
    })  # fmt: skip
    if WEIGHTS in different or (not same_fingerprint and WEIGHTS not in there):
        raise CalibError(
            "mismatch",
            f"{what} was made with other weights than those of {vlm.checkpoint} (there → now): "
            f"{'; '.join(shown(different))}. Load the checkpoint that it was made with, or make it "
            "again for this one (calib.extract, calib.sweep).",
        )
    others = {name: both for name, both in different.items() if not name.startswith(_NOTED)}
    if others and vlm.accept_directions != "same_weights":
        names = [_SETTINGS[name] for name in others if name in _SETTINGS]
        restore = f" ({', '.join(names)})" if names else ""
        raise CalibError(
            "mismatch",
            f"{what} was made with the weights of {vlm.checkpoint}, but under other settings "
            f"(there → now): {'; '.join(shown(others))}. Load the model with the settings there"
            f"{restore}, or accept these differences with model.accept_directions=same_weights.",
        )
    if not different:
        return []
    effect = (
        "activations differ, so check strengths again on validation"
        if others
        else "activations differ by rounding errors only"
    )
    fields = "; ".join(shown(different))
    return [f"{what} was made under other settings (there → now): {fields}; {effect}"]


def _quantization(config: Any) -> str:
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return "none"
    table = settings if isinstance(settings, dict) else settings.to_dict()
    bits = [bits for bits in ("4bit", "8bit") if table.get(f"load_in_{bits}")]
    return "-".join([str(table.get("quant_method", "unknown")), *bits])


def _hash(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON, without those that say nothing about activations."""

    def reduced(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(k): reduced(v) for k, v in value.items() if k not in _INCIDENTAL}
        return value

    plain: dict[str, Any] = json.loads(json.dumps(reduced(settings), default=str))
    return plain


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in sorted(table.items()):
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
