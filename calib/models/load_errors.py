"""Why a checkpoint could not be loaded, and the way out of that cause.

transformers raises the same few exceptions for most causes, and their first line often names
something else. The files of a folder tell more, and are looked at first.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING
from transformers.utils import find_adapter_config_file

from calib.models.checkpoints.build_commands import build_command
from calib.models.checkpoints.files import CheckpointFiles
from calib.util.errors import CalibError
from calib.util.files import home_expanded
from calib.util.reading import file_bytes, parse_json

FORMAT = (
    "Give a folder or hub id of a vision-language model in transformers format with safetensors "
    "weights (custom code is never run), or omit model.checkpoint for mini-internvl."
)


def load_failure(name: str, error: Exception) -> tuple[str, Exception | None]:
    """The message for a checkpoint that could not be loaded: the cause and its own way out; and
    ``error``, whose traceback is worth showing, where the message can only quote it."""
    folder = home_expanded(name)
    cause = None
    if folder.is_dir():
        files = CheckpointFiles(folder)
        cause = (
            files.config_fault()
            or _by_error(name, error, _KINDS)
            or files.weights_fault()
            or files.processor_fault()
        )
    elif folder.is_file():
        cause = "it is a file. Give the folder that contains it, with config.json beside it."
    elif name.startswith((".", "/", "~")):
        cause = f"the folder does not exist. {_how_to_get(folder)}"
    elif name.count("/") > 1:
        cause = f"it is neither an existing folder nor a hub id (ORGANISATION/NAME). {FORMAT}"
    cause = cause or _by_error(name, error, (*_KINDS, *_CAUSES))
    if cause is None and isinstance(error, ArithmeticError | LookupError):
        cause = _value(error, f"{type(error).__name__}: {error}"[:300], _config(name))
    unexplained = None if cause else error
    cause = cause or f"{_first_line(error).rstrip('. ')}. {FORMAT}"
    return f"model.checkpoint={name} could not be loaded: {cause}", unexplained


def refuse_adapter(name: str, source: str, common: dict[str, Any]) -> None:
    """Raise CalibError (unsupported) for a LoRA adapter, of which transformers would load the base
    alone or fail with an unrelated message."""
    path = find_adapter_config_file(source, revision=common["revision"])
    if path is None:
        return
    content = parse_json(file_bytes(Path(path)))
    base = content.get("base_model_name_or_path") if isinstance(content, dict) else None
    raise CalibError(
        "unsupported",
        f"model.checkpoint={name} is an adapter of {base or 'another checkpoint'} "
        "(adapter_config.json). Merge it into its base (peft: merge_and_unload, then "
        "save_pretrained, and save the processor beside it), and give the merged folder.",
    )


def require_complete(name: str, info: dict[str, Any]) -> None:
    """Raise CalibError for weights that are missing or have other shapes than the config says."""
    absent = sorted(info["missing_keys"])
    if absent:
        raise CalibError(
            "invalid-content",
            f"model.checkpoint={name} lacks {len(absent)} weights (first: {absent[0]}), which "
            "would be initialised randomly. Get a complete copy, or one converted to transformers "
            "format.",
        )
    mismatched = sorted(info["mismatched_keys"])
    if mismatched:
        weight, shape, expected = mismatched[0]
        raise CalibError(
            "mismatch",
            f"model.checkpoint={name} has {len(mismatched)} weights whose shapes differ from its "
            f"config (first: {weight} is {list(shape)}, expected {list(expected)}). Get a complete "
            "copy.",
        )


def refuse_quantization(name: str, config: dict[str, Any]) -> None:
    """Raise CalibError (unsupported) for weights quantized by a method that transformers lacks.

    transformers would only warn, and load the packed weights as if they were plain ones.
    """
    method = _quantization(config)
    known = {"bitsandbytes", "finegrained_fp8", *AUTO_QUANTIZATION_CONFIG_MAPPING}
    if method is not None and method not in known:
        raise CalibError(
            "unsupported",
            f"model.checkpoint={name} has weights quantized with {method}, which transformers "
            f"{transformers.__version__} does not read. Take the unquantized checkpoint of the "
            "model, with model.quantization=4bit if it does not fit on the GPU.",
        )


def torchvision_command() -> str:
    """The command that installs the torchvision of the installed torch.

    torchvision pins one version of torch, so naming that version makes pip choose the other; builds
    such as 2.13.0+cpu are on an index of their own.
    """
    version, _, build = torch.__version__.partition("+")
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    return f"pip install torchvision torch=={version}{index}"


def _how_to_get(folder: Path) -> str:
    command = build_command(folder)
    if command is None:
        return f"python -m calib.convert creates VLGuard's. {FORMAT}"
    return (
        "Build it with the following command, in a checkout of calib's repository (an installed "
        f"calib lacks the recipe), or give the folder where it is: {command}"
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, StrictDataclassError):
        return " ".join(lines[:2])
    first = lines[0][:300] if lines else "no reason is given"
    vague = isinstance(error, LookupError | TypeError | AttributeError)
    return f"{type(error).__name__}: {first}" if vague or not lines else first


def _quantization(config: dict[str, Any]) -> str | None:
    if not isinstance(config, dict):  # config.json holds something else, which load reports
        return None
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    found = [part["quantization_config"] for part in parts if part.get("quantization_config")]
    method = found[0].get("quant_method") if found and isinstance(found[0], dict) else None
    return None if method is None else str(method)


def _config(name: str) -> dict[str, Any]:
    """config.json of a folder or of the hub's cache; empty if it cannot be read."""
    try:
        config, _ = transformers.PreTrainedConfig.get_config_dict(str(home_expanded(name)))
    except Exception:  # the cause is another one
        return {}
    return config if isinstance(config, dict) else {}


def _by_error(name: str, error: Exception, causes: "Sequence[_Cause]") -> str | None:
    text, config = str(error), _config(name)
    for applies, advice in causes:
        if applies(error, text.lower()):
            return advice(_first_line(error), config)
    return None


def _says(*parts: str) -> Callable[[Exception, str], bool]:
    return lambda error, text: any(part in text for part in parts)


def _torchvision(first: str, config: dict[str, Any]) -> str:
    return (
        "its image processor exists for torchvision only, which is not installed: "
        f"{torchvision_command()}"
    )


def _broken_torchvision(first: str, config: dict[str, Any]) -> str:
    return (
        f"the installed torchvision does not fit torch {torch.__version__} ({first}). Install the "
        f"one that does ({torchvision_command()}), or remove it: pip uninstall torchvision"
    )


def _package(first: str, config: dict[str, Any]) -> str:
    method = _quantization(config)
    if method is None:
        return first
    return (
        f"its weights are quantized with {method}, which this environment cannot run: "
        f"{first.rstrip('. ')}. Install what is missing, or take the unquantized checkpoint of the "
        "model, with model.quantization=4bit if it does not fit on the GPU."
    )


def _own_code(first: str, config: dict[str, Any]) -> str:
    return (
        f"model type '{config.get('model_type', 'unknown')}' runs code of its own repository, and "
        "calib never runs code from a checkpoint (trust_remote_code stays off). Take a checkpoint "
        "of the model in transformers' own format (often named -hf), or run the model behind an "
        "endpoint, which reads no activations: model=vllm."
    )


def _unknown_type(first: str, config: dict[str, Any]) -> str:
    if config.get("auto_map"):
        return _own_code(first, config)
    inner = re.search(r"subconfig: (\S+?)\. ", first)
    kind = inner[1] if inner else config.get("model_type", "unknown")
    saved = config.get("transformers_version")
    by = f" It was saved by transformers {saved}." if saved else ""
    return (
        f"transformers {transformers.__version__} does not know the model type "
        f"'{kind}'.{by} Install a version that knows it "
        "(pip install -U transformers), or take another model."
    )


def _other_kind(first: str, config: dict[str, Any]) -> str:
    kind = str(config.get("model_type", "unknown"))
    if config.get("auto_map"):
        return _own_code(first, config)
    what = (
        "a language model of text only"
        if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        else "no model that writes text about images"
    )
    return f"model type '{kind}' is {what}. {FORMAT}"


def _gated(first: str, config: dict[str, Any]) -> str:
    return (
        "the repository is gated. Accept its terms on its page with your account, and log in: "
        "hf auth login."
    )


def _absent_repository(first: str, config: dict[str, Any]) -> str:
    return (
        "there is no such repository on the hub, or it is private, and no folder of that name. "
        "Check the spelling, or log in with an account that may read it: hf auth login."
    )


def _revision(first: str, config: dict[str, Any]) -> str:
    return "the repository has no such revision. Correct or omit model.revision."


def _offline(first: str, config: dict[str, Any]) -> str:
    return (
        "its files are not all in the cache, and the hub cannot be reached. Connect (and unset "
        "HF_HUB_OFFLINE), or download them elsewhere (hf download ID --local-dir FOLDER) and give "
        "model.checkpoint=FOLDER."
    )


def _tokenizer(first: str, config: dict[str, Any]) -> str:
    return (
        "its tokenizer cannot be built: tokenizer.json is missing, or the package of another "
        "format. Download all files of the tokenizer, or pip install sentencepiece tiktoken "
        f"protobuf. ({first.rstrip(': ')})"
    )


def _processor(first: str, config: dict[str, Any]) -> str:
    return (
        "it lacks preprocessor_config.json or processor_config.json, or these name no image "
        "processor. Copy all files of the processor from the model that it was trained from "
        "(AutoProcessor.from_pretrained(BASE).save_pretrained(FOLDER))."
    )


def _settings(first: str, config: dict[str, Any]) -> str:
    return (
        f"its configuration has a value that this version of transformers cannot use: {first}. "
        "Correct it in config.json, or download that file again."
    )


def _value(error: Exception, first: str, config: dict[str, Any]) -> str:
    """An exception of the model's constructor, which names no field of config.json."""
    if isinstance(error, ZeroDivisionError):
        found = [text for text, value in _fields(config) if type(value) is int and value == 0]
        found = [text for text in found if "_id" not in text]
    else:
        found = [text for text, value in _fields(config) if error.args == (value,)]
    fields = f" ({', '.join(found[:4])})" if found else ""
    return (
        "transformers cannot use its files, most likely because of a value in config.json"
        f"{fields}: {first.rstrip('. ')}. Correct it there, or download that file again."
    )


def _fields(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of config.json that are no objects, each with its text ``key=value``."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={value}"[:100], value


def _gpu(first: str, config: dict[str, Any]) -> str | None:
    return None if _quantization(config) is None else _package(first, config)


_Cause = tuple[Callable[[Exception, str], bool], Callable[[str, dict[str, Any]], str | None]]

_KINDS: tuple[_Cause, ...] = (
    (_says("custom code", "trust_remote_code"), _own_code),
    (_says("does not recognize this architecture", "unrecognized model type"), _unknown_type),
    (_says("unrecognized configuration class"), _other_kind),
)
"""Other kinds of checkpoints: found from config.json, before the other files are read."""

_CAUSES: tuple[_Cause, ...] = (
    (_says("torchvision::", "torchvision has"), _broken_torchvision),
    (_says("torchvision"), _torchvision),
    (_says("gated repo", "awaiting a review", "accept the conditions"), _gated),
    (_says("not a valid git identifier", "revision not found"), _revision),
    (_says("not a local folder and is not a valid model identifier", "repository not found"),
     _absent_repository),
    (_says("couldn't connect to", "offline mode", "cannot find the requested files in the "),
     _offline),
    (_says("backend tokenizer", "sentencepiece", "tiktoken", "protobuf", "load tokenizer"),
     _tokenizer),
    (_says("image processor", "preprocessor_config.json", "processor_config.json"), _processor),
    (lambda error, text: isinstance(error, ImportError), _package),
    (lambda error, text: isinstance(error, StrictDataclassError), _settings),
    (_says("gpu", "cuda", "kernel", "not implemented for"), _gpu),
)  # fmt: skip
"""Causes, by what their exception says, and their way out; the first that applies counts."""
