"""Load a model, or take one that transformers has loaded already."""

import copy
from pathlib import Path
from typing import Any

import yaml
from transformers import PreTrainedModel

from calib.api.model import Model
from calib.config.checks import text
from calib.config.model import PACKAGED, ModelConfig
from calib.config.schemas import CONF
from calib.config.typed import typed_config
from calib.models.load import load as load_vlm
from calib.models.load import mini_folder, vlm_of
from calib.models.processor import load_processor
from calib.util.errors import CalibError, did_you_mean, first_line
from calib.util.files import home_expanded


def load(model: str = "internvl", **settings: Any) -> Model:
    """Load a model by its name in conf/model, its hub id or its path.

    internvl is mini-internvl, which ships with calib. ``settings`` are fields of
    calib.config.model.ModelConfig, e.g. dtype="bfloat16".

    Raises CalibError when the model cannot be loaded, or a setting does not exist.
    """
    if isinstance(model, Path):
        model = str(model)
    if isinstance(model, PreTrainedModel):
        raise CalibError(
            "invalid-value",
            "calib.load takes a name, a hub id or a path. A model that is loaded already goes to "
            "calib.wrap(model, processor).",
        )
    text("model", model)
    names = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    if model in names:
        option = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text(encoding="utf-8"))
        schemas = [entry for entry in option.pop("defaults", []) if isinstance(entry, dict)]
        if {"/hydra/schema/model@_here_": "any"} not in schemas:
            raise CalibError(
                "unsupported",
                f"Model '{model}' is behind an endpoint and cannot be steered. calib.sweep "
                "calibrates it with prompt-based methods.",
            )
    elif model and ("/" in model or home_expanded(model).exists()):
        option = {"name": Path(model).name, "checkpoint": model}
    else:
        raise CalibError(
            "unknown-name",
            f"There is no model '{model}'.{did_you_mean(model, names)} Give one of "
            f"{', '.join(names)}, a hub id (owner/name) or a path.",
        )
    config = typed_config([ModelConfig], option | settings)
    return Model(load_vlm(config), config)


def wrap(model: Any, processor: Any = None, **settings: Any) -> Model:
    """Take a vision-language model that transformers has loaded, with its processor.

    The model itself is used, in evaluation mode, and never changed otherwise. The processor is
    copied; None loads the one of the checkpoint that the model's config names, which needs no
    torchvision. ``settings`` are fields of calib.config.model.ModelConfig that concern prompts and
    names: name, chat_template, chat_template_kwargs, system_place, tiles, max_pixels, min_pixels,
    accept_directions.

    Directions and runs record the checkpoint that the model's config names, so calib.load of the
    same checkpoint accepts them where all settings are equal.

    Raises CalibError (invalid-value) for what is no model of transformers, or no processor of
    images and text; (unsupported) for a model without a decoder that can be edited, or a processor
    without a chat template; (conflicting-settings) for a setting of loading, such as dtype.
    """
    if not isinstance(model, PreTrainedModel):
        what = "a name or path: use calib.load" if isinstance(model, str) else type(model).__name__
        raise CalibError(
            "invalid-value",
            f"calib.wrap was given {what}. Give a loaded model of transformers, such as "
            "AutoModelForImageTextToText.from_pretrained returns.",
        )
    checkpoint = str(model.config._name_or_path or type(model).__name__)
    if processor is None:
        processor = _processor_of(model, checkpoint)
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise CalibError(
            "invalid-value",
            f"The processor is of type {type(processor).__name__}. Give the processor of images "
            "and text that belongs to the model: AutoProcessor.from_pretrained(checkpoint).",
        )
    _refuse_loading(settings)
    packaged = [name for name in PACKAGED if mini_folder(name) == Path(checkpoint)]
    checkpoint = packaged[0] if packaged else checkpoint
    given: dict[str, Any] = {"name": Path(checkpoint).name, "checkpoint": checkpoint} | settings
    given["dtype"] = str(model.dtype).removeprefix("torch.")
    config = typed_config([ModelConfig], given)
    return Model(vlm_of(model, copy.deepcopy(processor), config), config)


def _processor_of(model: PreTrainedModel, checkpoint: str) -> Any:
    try:
        return load_processor(checkpoint, model.config.model_type, None, {})
    except (OSError, ValueError) as error:
        raise CalibError(
            "missing-setting",
            f"The model's config names the checkpoint '{checkpoint}', and no processor can be "
            f"loaded from there ({first_line(error)}). Give the processor: calib.wrap(model, "
            "processor).",
        ) from None


_OF_LOADING = ("checkpoint", "revision", "dtype", "device_map", "attention", "quantization")
"""Settings that are decided when transformers loads a model."""


def _refuse_loading(settings: dict[str, Any]) -> None:
    for key in _OF_LOADING:
        if key in settings:
            raise CalibError(
                "conflicting-settings",
                f"{key} was decided when the model was loaded. Omit it, or load the model with "
                "calib.load.",
            )
