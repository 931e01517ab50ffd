"""Load a vision-language model and its processor, and identify its exact weights."""

import hashlib
import importlib.util
import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    PreTrainedConfig,
    logging,
)

from calib.config.model import ModelChoice, ModelConfig, RemoteModelConfig
from calib.models.feature_cache import FeatureCache
from calib.models.layers import decoder_layers
from calib.models.original_llava import is_original
from calib.models.processor import open_processor
from calib.models.remote import RemoteModel
from calib.util.errors import CalibError


def quantization_settings(config: ModelConfig) -> dict[str, Any]:
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


_NOT_LOADED = (
    OSError, ValueError, KeyError, ImportError, RuntimeError, HFValidationError, SafetensorError,
)  # fmt: skip
"""What transformers raises for checkpoints that are not there, damaged or of another kind."""

MINI = "mini-internvl"
"""The checkpoint that comes with calib; a model organism, not a published model."""


@dataclass(frozen=True)
class VLM:
    """A loaded model with what a run needs to know about it."""

    name: str
    """Name given in the configuration, e.g. internvl."""
    checkpoint: str
    """Where the weights came from: mini-internvl, a hub id or a path."""
    revision: str | None
    model: Any
    processor: Any
    fingerprint: str
    """Hash of config, weights' sample and processor: two models that differ have different ones."""
    width: int
    """Width of the residual stream."""
    tiles: bool
    feature_cache: FeatureCache = field(default_factory=FeatureCache, compare=False)
    """Image features that the vision tower has already given."""

    @property
    def num_layers(self) -> int:
        """Number of decoder blocks."""
        return len(decoder_layers(self.model))

    @property
    def device(self) -> torch.device:
        """Where inputs go; a sharded model moves them on by itself."""
        return self.model.get_input_embeddings().weight.device

    @property
    def image_token_ids(self) -> list[int]:
        """Token ids that stand for one image feature in the prompt; empty if the model has none."""
        config = self.model.config
        token = getattr(config, "image_token_id", getattr(config, "image_token_index", None))
        return [] if token is None else [token]

    @property
    def pad_token_id(self) -> int:
        """Token id that fills what stands left of a shorter prompt; it is always masked."""
        return self.processor.tokenizer.pad_token_id or 0


AnyModel = VLM | RemoteModel
"""What answers: a model that can be looked into, or one behind an endpoint."""


def open_model(config: ModelChoice) -> AnyModel:
    """The model that the configuration names, loaded or behind its endpoint.

    Raises CalibError as load does, and where a remote model's id, key or package is missing.
    """
    return RemoteModel(config) if isinstance(config, RemoteModelConfig) else load(config)


def load(config: ModelChoice) -> VLM:
    """The model that the configuration names, in evaluation mode.

    Raises CalibError when the checkpoint is not there, is no image-text model, holds pickled
    weights only, lacks weights or has them in another shape (transformers would fill them with
    random numbers), has no chat template, or cannot be quantized here, and for a remote model.
    """
    if not isinstance(config, ModelConfig):
        raise CalibError(
            f"model={config.name} answers behind an endpoint and shows no activations, and "
            "directions are read from them. Take a model with weights, e.g. model=internvl; "
            "calib.sweep calibrates remote models by prompt-based methods."
        )
    source = config.checkpoint or str(mini_folder())
    name = config.checkpoint or MINI
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    common = {"revision": config.revision, "trust_remote_code": False}
    quantized = quantization_settings(config)
    try:
        _refuse_original(name, PreTrainedConfig.get_config_dict(source, **common)[0])
        model_type = AutoConfig.from_pretrained(source, **common).model_type
        model, info = AutoModelForImageTextToText.from_pretrained(
            source,
            **common,
            **quantized,
            dtype="auto" if config.dtype == "auto" else getattr(torch, config.dtype),
            device_map=config.device_map or _one_device(),
            attn_implementation=config.attention,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
        processor = open_processor(source, model_type, config.chat_template, common)
    except torch.OutOfMemoryError as error:
        raise CalibError(
            f"model.checkpoint={name} does not fit on the GPU. Spread it with "
            "model.device_map=auto, or load less of it: model.dtype=bfloat16, "
            "model.quantization=4bit, a smaller checkpoint."
        ) from error
    except _NOT_LOADED as error:
        raise CalibError(_explain(name, error)) from error
    _require_complete(name, info)
    model.eval()
    processor.tokenizer.padding_side = "left"
    return VLM(
        name=config.name,
        checkpoint=name,
        revision=config.revision,
        model=model,
        processor=processor,
        fingerprint=fingerprint(model, processor, config.tiles),
        width=model.config.get_text_config(decoder=True).hidden_size,
        tiles=config.tiles,
    )


def _one_device() -> str:
    from accelerate import PartialState

    return str(PartialState().device)


def _refuse_original(name: str, config: dict[str, Any]) -> None:
    if is_original(config):
        raise CalibError(
            f"model.checkpoint={name} is in the original LLaVA format, which transformers would "
            f"load with random weights. Convert it: python -m calib.convert source={name} "
            "out=FOLDER, then model.checkpoint=FOLDER."
        )


def _require_complete(name: str, info: dict[str, Any]) -> None:
    absent = sorted(info["missing_keys"])
    if absent:
        raise CalibError(
            f"model.checkpoint={name} lacks {len(absent)} weights (first: {absent[0]}); running it "
            "would use random numbers in their place. Get a complete copy, or one converted to "
            "the transformers format."
        )
    other = sorted(info["mismatched_keys"])
    if other:
        weight, given, wanted = other[0]
        raise CalibError(
            f"model.checkpoint={name} holds {len(other)} weights of other shapes than its config "
            f"asks for (first: {weight}, {list(given)} for {list(wanted)}). Get a complete copy."
        )


def _explain(name: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if name.startswith((".", "/")) and not Path(name).exists():
        first = (
            "there is no such folder. python -m calib.convert makes one of VLGuard's checkpoints."
        )
    return (
        f"model.checkpoint={name} could not be loaded: {first} Give a folder or hub id of a "
        "vision-language model in transformers' own format with safetensors weights (custom code "
        "is never run), or leave model.checkpoint away for mini-internvl."
    )


def fingerprint(model: Any, processor: Any, tiles: bool = False) -> str:
    """16 hex digits over what decides a response: config, generation settings, a sample of every
    weight, tokenizer, chat template and image processing.

    A sample (up to 64 values of each tensor) keeps this instant for large models; training changes
    practically every tensor, while a change of single values may go unnoticed.
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
    }
    for part in ("config", "generation"):
        for key in incidental:
            settings[part].pop(key, None)
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    digest.update(_tokenizer(processor.tokenizer).encode())
    for name, weight in sorted(model.named_parameters()):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        if weight.device.type != "meta":  # offloaded weights are not here to be read
            step = max(1, weight.numel() // 64)
            sample = weight.detach().reshape(-1)[::step][:64].float().cpu()
            digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def _tokenizer(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # a slow tokenizer: its vocabulary
        return json.dumps(tokenizer.get_vocab(), sort_keys=True)
    # Padding and truncation are set by whoever calls, and left behind in the serialised state.
    state = json.loads(backend.to_str())
    state.pop("padding", None)
    state.pop("truncation", None)
    return json.dumps(state, sort_keys=True)


def mini_folder() -> Path:
    """Folder of the packaged mini-internvl checkpoint."""
    return Path(str(resources.files("calib.models") / "mini_internvl"))
