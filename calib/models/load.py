"""Load a vision-language model and its processor, and identify its exact weights."""

import functools
import importlib.util
import os
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import logging as hub_logging
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    PreTrainedConfig,
    logging,
)

from calib.config.choices import SystemPlace
from calib.config.model import MINI, PACKAGED, ModelChoice, ModelConfig, RemoteModelConfig
from calib.models.checkpoints.fingerprint import fingerprint
from calib.models.checkpoints.original_llava import is_original
from calib.models.checkpoints.size import require_few_blocks, require_plausible_size
from calib.models.checkpoints.without_weights import structure_of
from calib.models.feature_cache import FeatureCache
from calib.models.layers import decoder_layers, has_recurrent_state
from calib.models.load_errors import (
    load_failure,
    refuse_adapter,
    refuse_quantization,
    require_complete,
)
from calib.models.processor import (
    limit_pixels,
    load_processor,
    prepare_processor,
    require_variables,
)
from calib.models.remote import RemoteModel
from calib.models.towers import register_towers
from calib.util.errors import CalibError


@dataclass(frozen=True)
class VLM:
    """A loaded vision-language model with its processor and identity."""

    name: str
    """Name in the configuration, e.g. internvl."""
    checkpoint: str
    """Source of the weights: mini-internvl, a hub id or a path."""
    revision: str | None
    """Commit, tag or branch of a hub checkpoint."""
    model: Any
    """The transformers model, in evaluation mode."""
    processor: Any
    """The transformers processor, for images and text."""
    fingerprint: str
    """Hash of config, sampled weights and processor; equal only for equal models."""
    width: int
    """Width of the residual stream."""
    tiles: bool
    """Whether large images are cut into tiles (InternVL's crop_to_patches)."""
    accept_directions: str = "same_settings"
    """Directions that may be used: one of DIRECTION_ORIGINS; see ModelConfig."""
    max_pixels: int | None = None
    """Number of pixels to which images are scaled down before the processor; None if they are not
    (the processor itself may limit them)."""
    feature_cache: FeatureCache = field(default_factory=FeatureCache, compare=False)
    """Image features that the vision tower has already computed."""
    template_tails: dict[Any, Any] = field(default_factory=dict, compare=False)
    """Tail of calib.models.chat_template, by template and structure of the conversation; None where
    it is unknown."""
    renderings: dict[Any, Any] = field(default_factory=dict, compare=False)
    """Rendering of calib.models.chat_template, by template and structure of the conversation."""
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    """Further variables of the chat template: model.chat_template_kwargs."""
    own_template: str | None = None
    """The chat template of model.chat_template; None where it is the checkpoint's."""
    system_place: SystemPlace = "template"
    """Place of system prompts: model.system_place."""

    @property
    def context_length(self) -> int | None:
        """Largest number of tokens of a prompt and its response; None if the model states none."""
        config = self.model.config.get_text_config(decoder=True)
        return getattr(config, "max_position_embeddings", None)

    @property
    def num_layers(self) -> int:
        """Number of decoder blocks."""
        return len(decoder_layers(self.model))

    @property
    def device(self) -> torch.device:
        """Device of the inputs; a model sharded over several devices moves activations itself."""
        device = self.model.get_input_embeddings().weight.device
        return torch.device("cpu") if device.type == "meta" else device

    @property
    def has_weights(self) -> bool:
        """Whether the weights are in memory; false of a model that only another engine runs."""
        return self.model.get_input_embeddings().weight.device.type != "meta"

    @functools.cached_property
    def has_recurrent_state(self) -> bool:
        """Whether padding changes the model's outputs; see calib.models.layers."""
        return has_recurrent_state(self.model)

    @functools.cached_property
    def image_token_ids(self) -> list[int]:
        """Token ids that stand for one image feature in the prompt; empty if there are none."""
        config = self.model.config
        token = getattr(config, "image_token_id", getattr(config, "image_token_index", None))
        return [] if token is None else [token]

    @property
    def pad_token_id(self) -> int:
        """Token id for left padding, which is always masked."""
        return self.processor.tokenizer.pad_token_id or 0


AnyModel = VLM | RemoteModel
"""A model with weights, or one behind an endpoint."""


def open_model(config: ModelChoice) -> AnyModel:
    """Load the configured model, or create the client of a remote model.

    Raises CalibError as load does, and if a remote model lacks its id, key or package.
    """
    return RemoteModel(config) if isinstance(config, RemoteModelConfig) else load(config)


def load(config: ModelChoice, weights: bool = True, device: str | None = None) -> VLM:
    """Load the configured model and its processor, in evaluation mode.

    Without ``weights``, the model has its config and structure only, for an engine that has them.
    ``device`` is the one to use where model.device_map is null; None chooses it.

    Raises CalibError for a remote model, and if the checkpoint does not exist, is not a model of
    images and text, has pickled weights only, lacks weights or has them in other shapes
    (transformers would initialise them randomly), has no chat template, or cannot be quantized.
    """
    if not isinstance(config, ModelConfig):
        raise CalibError(
            "unsupported",
            f"model={config.name} runs behind an endpoint, which gives no access to activations. "
            "Use a model with weights, e.g. model=internvl. calib.sweep calibrates remote models "
            "with prompt-based methods.",
        )
    source = source_of(config.checkpoint)
    name = config.checkpoint or MINI
    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()  # one line for each try of each file
    logging.disable_progress_bar()
    register_towers()
    common = {"revision": config.revision, "trust_remote_code": False}
    quantization = quantization_settings(config)
    try:
        refuse_adapter(name, source, common)
        files, _ = PreTrainedConfig.get_config_dict(source, **common)
        require_few_blocks(f"model.checkpoint={name}", files)
        _refuse_original(name, files)
        refuse_quantization(name, files)
        settings = AutoConfig.from_pretrained(source, **common)
        forget_attention(settings)
        if weights:
            build = functools.partial(
                AutoModelForImageTextToText.from_config, attn_implementation="eager"
            )
            require_plausible_size(f"model.checkpoint={name}", source, settings, build, common)
            model, info = AutoModelForImageTextToText.from_pretrained(
                source,
                **common,
                **quantization,
                config=settings,
                dtype="auto" if config.dtype == "auto" else getattr(torch, config.dtype),
                device_map=config.device_map or device or default_device(),
                attn_implementation=config.attention,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # rejected below, by name
                output_loading_info=True,
            )
            require_complete(name, info)
        else:
            model = structure_of(source, settings, config.dtype, config.attention, common)
        processor = load_processor(source, settings.model_type, config.chat_template, common)
        return _vlm(model, processor, config)
    except torch.OutOfMemoryError as error:
        raise CalibError(
            "no-memory",
            f"model.checkpoint={name} does not fit on the GPU. Spread it over several with "
            "model.device_map=auto, or reduce it with model.dtype=bfloat16, "
            "model.quantization=4bit or a smaller checkpoint.",
        ) from error
    except (CalibError, MemoryError):
        raise
    except Exception as error:  # a damaged checkpoint can raise any exception
        message, unexplained = load_failure(name, error)
        raise CalibError("unreadable", message) from unexplained


def vlm_of(model: Any, processor: Any, config: ModelConfig) -> VLM:
    """A model of transformers that is loaded already; both are changed to what calib needs.

    The model is put in evaluation mode, and the processor gets the chat template of ``config`` and
    left padding. Raises CalibError (unsupported) for a model without a plain list of decoder
    blocks, or a processor without a chat template.
    """
    decoder_layers(model)
    source = config.checkpoint or MINI
    prepare_processor(processor, source, config.chat_template)
    return _vlm(model, processor, config)


def _vlm(model: Any, processor: Any, config: ModelConfig) -> VLM:
    name = config.checkpoint or MINI
    kwargs = dict(config.chat_template_kwargs or {})
    require_variables(name, processor.chat_template, kwargs)
    scaled_to = limit_pixels(processor, name, config.max_pixels, config.min_pixels, config.tiles)
    model.eval()
    return VLM(
        name=config.name,
        checkpoint=name,
        revision=config.revision,
        model=model,
        processor=processor,
        fingerprint=fingerprint(model, processor, config.tiles, _prompting(config)),
        width=model.config.get_text_config(decoder=True).hidden_size,
        tiles=config.tiles,
        max_pixels=scaled_to,
        template_kwargs=kwargs,
        own_template=processor.chat_template if config.chat_template else None,
        system_place=config.system_place,  # type: ignore[arg-type]  # checked by ModelConfig
        accept_directions=config.accept_directions,
    )


def _prompting(config: ModelConfig) -> dict[str, Any]:
    """Settings that change prompts, where they are not the default."""
    settings: dict[str, Any] = {"chat_template_kwargs": config.chat_template_kwargs or {}}
    settings["max_pixels"] = config.max_pixels
    if config.system_place != "template":
        settings["system_place"] = config.system_place
    return {name: value for name, value in settings.items() if value}


def default_device() -> str:
    """The device of this process as accelerate chooses it: a GPU if there is one."""
    from accelerate import PartialState

    return str(PartialState().device)


def quantization_settings(config: ModelConfig) -> dict[str, Any]:
    """Arguments of from_pretrained for ``model.quantization``; empty without quantization.

    Raises CalibError if bitsandbytes or a GPU is missing.
    """
    if config.quantization is None:
        return {}
    setting = f"model.quantization={config.quantization}"
    if importlib.util.find_spec("bitsandbytes") is None:
        raise CalibError(
            "needs-package",
            f"{setting} needs the bitsandbytes package: pip install 'calib[quant]'. Or omit it and "
            "use model.dtype=bfloat16.",
        )
    if not torch.cuda.is_available():
        raise CalibError(
            "unsupported",
            f"{setting} needs a GPU, and none is available. Omit it, and use a smaller checkpoint "
            "or model.dtype=bfloat16.",
        )
    if config.quantization == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    compute_dtype = None if config.dtype == "auto" else config.dtype
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute_dtype
        )
    }


def forget_attention(config: PreTrainedConfig) -> None:
    """Remove the attention that config.json asks for: its value may name a repository of kernels,
    that is code, which transformers would fetch. model.attention alone decides."""
    config._attn_implementation_internal = None
    config._experts_implementation_internal = None
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if isinstance(part, PreTrainedConfig):
            forget_attention(part)


def _refuse_original(name: str, config: dict[str, Any]) -> None:
    if is_original(config):
        raise CalibError(
            "unsupported",
            f"model.checkpoint={name} is in the original LLaVA format, which transformers would "
            f"load with random weights. Convert it: python -m calib.convert source={name} "
            "out=FOLDER, then use model.checkpoint=FOLDER.",
        )


def mini_folder(name: str = MINI) -> Path:
    """Folder of a packaged checkpoint, by its name in PACKAGED."""
    return Path(str(resources.files("calib.models") / name.replace("-", "_")))


def source_of(checkpoint: str | None) -> str:
    """What transformers loads a checkpoint from: the folder of a packaged one, a path, or a hub
    id."""
    name = checkpoint or MINI
    # Not home_expanded: a Path drops the ./ that distinguishes a folder from a hub id.
    return str(mini_folder(name)) if name in PACKAGED else os.path.expanduser(name)  # noqa: PTH111
