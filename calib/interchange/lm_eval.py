"""Steering files of lm-evaluation-harness (``--model steered``): one entry per hooked module.

Its reader looks up modules by name in ``model.base_model`` and edits their output at every token.
"add" adds coefficient x vector. "clamp" sets the component along a unit vector to the coefficient;
at 0 this is directional ablation (arXiv 2406.11717, section 2.4).
"""

import io
from typing import Any, cast

import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from calib.config.choices import Site
from calib.directions.direction import Direction
from calib.models.layers import site_module
from calib.util.errors import CalibError


def steering_file(direction: Direction, model: Any) -> bytes:
    """The steering file of an expressible direction for a model.

    It contains only tensors, numbers and text. Raises CalibError if the harness would load the
    checkpoint as another class.
    """
    loads_by_name(model)
    entries = {
        module_name(model, layer, direction.site): _entry(direction, layer)
        for layer in direction.layers
    }
    buffer = io.BytesIO()
    torch.save(entries, buffer)
    return buffer.getvalue()


def _entry(direction: Direction, layer: int) -> dict[str, Any]:
    ablates = direction.operator == "ablate"
    vector = direction.vectors[direction.row(layer)] if ablates else direction.at(layer, 1.0)
    return {
        "steering_vector": vector.clone(),  # torch.save stores the whole storage of a view
        "steering_coefficient": 0.0 if ablates else float(direction.strength),
        "action": "clamp" if ablates else "add",
        "bias": None,
    }


def module_name(model: Any, layer: int, site: str) -> str:
    """Name in ``model.base_model`` of the module whose output is the site's activations.

    Raises CalibError if the module is outside base_model.
    """
    target = site_module(model, (layer, cast(Site, site)))
    names = [name for name, module in model.base_model.named_modules() if module is target]
    if len(names) != 1:
        raise CalibError(
            "unsupported",
            f"format=lm_eval: block {layer} of {type(model).__name__} is outside its base_model, "
            "where lm-evaluation-harness looks for it. Use format=native.",
        )
    return names[0]


def loads_by_name(model: Any) -> bool:
    """Whether ``lm-eval --model steered`` can load the checkpoint from its command line.

    Otherwise the model is passed to the harness in Python.

    Raises CalibError if the harness would load another class, with other module names.
    """
    class_name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model.config.model_type)
    if class_name is None:
        return False
    if class_name != type(model).__name__:
        raise CalibError(
            "unsupported",
            f"format=lm_eval: lm-evaluation-harness loads this checkpoint as {class_name}, calib "
            f"as {type(model).__name__}, and their modules have different names. Use "
            "format=native.",
        )
    return True
