"""Steering files of lm-evaluation-harness (``--model steered``): one entry per module to hook.

Its reader resolves names among the modules of ``model.base_model`` and changes what the module
gives, at every token: "add" adds coefficient x vector; "clamp" sets the component along a unit
vector to the coefficient, which at 0 is directional ablation (arXiv 2406.11717, section 2.4).
"""

import io
from typing import Any

import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from calib.directions.direction import Direction
from calib.models.layers import LayerSite, site_module
from calib.util.errors import CalibError


def steering_file(direction: Direction, model: Any) -> bytes:
    """The file for a model; ``direction`` is expressible. It holds tensors, numbers and text only.

    Raises CalibError when the harness would build another class of model than this one.
    """
    loaded_by_name(model)
    entries = {
        hookpoint(model, layer, direction.site): _entry(direction, layer)
        for layer in direction.layers
    }
    buffer = io.BytesIO()
    torch.save(entries, buffer)
    return buffer.getvalue()


def _entry(direction: Direction, layer: int) -> dict[str, Any]:
    ablates = direction.operator == "ablate"
    vector = direction.vectors[direction.row(layer)] if ablates else direction.at(layer, 1.0)
    return {
        "steering_vector": vector.clone(),  # a view would be saved with all the other layers
        "steering_coefficient": 0.0 if ablates else float(direction.strength),
        "action": "clamp" if ablates else "add",
        "bias": None,
    }


def hookpoint(model: Any, layer: int, site: str) -> str:
    """Name of the module that gives the activations at a site, as ``model.base_model`` has it."""
    block = decoder_layers(model)[layer]
    module = block
    if site == "mlp":
        module = next(getattr(block, name) for name in MLPS if hasattr(block, name))
    names = [name for name, found in model.base_model.named_modules() if found is module]
    if len(names) != 1:
        raise CalibError(
            f"format=lm_eval: {type(model).__name__} keeps block {layer} outside of its "
            "base_model, where lm-evaluation-harness looks for it. Keep format=native."
        )
    return names[0]


def loaded_by_name(model: Any) -> bool:
    """Whether ``lm-eval --model steered`` loads the checkpoint itself; else it must be handed the
    model in Python.

    Raises CalibError when it would load it as another class, with modules of other names.
    """
    named = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model.config.model_type)
    if named is None:
        return False
    if named != type(model).__name__:
        raise CalibError(
            f"format=lm_eval: lm-evaluation-harness loads this checkpoint as {named}, calib as "
            f"{type(model).__name__}: the modules have other names there. Keep format=native."
        )
    return True
