"""The size of a model by its config.json, compared with its weights before memory is allocated.

transformers initialises weights that the files lack: a config without text_config means a model of
7 billion parameters, and one with a wrong width may ask for terabytes.
"""

import copy
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedConfig
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file
from transformers.utils.hub import get_checkpoint_shard_files

from calib.util.errors import CalibError
from calib.util.reading import regular

MAX_BLOCKS = 1_000
"""Most layers, experts, heads or labels; making each of them takes up to a millisecond."""
MAX_BUFFERS = 2**26
"""Most values of buffers that a model computes itself, such as rotary frequencies."""
FACTOR, QUANTIZED_FACTOR = 2, 32
"""Most parameters for each value in the files, which may lack tied weights; quantized weights are
packed, up to 32 in a value."""
_COUNT = re.compile(r"(?:\w*_)?(?:n_?)?(?:layers?|blocks|depths?|experts|heads?|labels)", re.I)


def require_few_blocks(setting: str, config: Any) -> None:
    """Raise CalibError (too-large), naming ``setting``, for the content of a config.json with more
    than MAX_BLOCKS layers, experts, heads or labels: transformers makes lists of them at once."""
    for key, value in _numbers(config):
        if value > MAX_BLOCKS and _COUNT.fullmatch(key):
            raise CalibError(
                "too-large",
                f"{setting}: its config.json has {key}={value}, and the limit is {MAX_BLOCKS:,}. "
                "Correct it, or download that file again.",
            )


def require_plausible_size(
    setting: str,
    source: str,
    settings: PreTrainedConfig,
    build: Callable[[PreTrainedConfig], Any],
    common: dict[str, Any],
) -> None:
    """Raise CalibError, naming ``setting``, for a config that describes a model with many more
    parameters than the checkpoint ``source`` has values.

    ``build`` makes the model; here, without memory. ``common`` are arguments of from_pretrained.
    Nothing is checked where the files cannot be found, which from_pretrained explains.
    """
    stored = sum(_stored_values(path) for path in _files(source, common))
    if not stored:
        return
    with torch.device("meta"):
        model = build(copy.deepcopy(settings))
    parameters = sum(weight.numel() for weight in model.parameters())
    buffers = sum(buffer.numel() for buffer in model.buffers())
    quantized = getattr(settings, "quantization_config", None)
    most = stored * (QUANTIZED_FACTOR if quantized else FACTOR)
    if parameters > most or buffers > max(MAX_BUFFERS, most):
        raise CalibError(
            "mismatch",
            f"{setting}: its config.json describes a model of {parameters:,} parameters and "
            f"{buffers:,} other values, but its weights have {stored:,} values. Get a complete "
            "copy, or the config.json that belongs to the weights.",
        )


def _numbers(settings: Any, key: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield from _numbers(value, str(name))
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _numbers(value, key)
    elif type(settings) is int:
        yield key, settings


def _files(source: str, common: dict[str, Any]) -> list[Path]:
    """The files of weights that from_pretrained reads; they are downloaded if need be."""
    revision = common["revision"]
    absent = {"_raise_exceptions_for_missing_entries": False, "revision": revision}
    if whole := cached_file(source, SAFE_WEIGHTS_NAME, **absent):
        return [regular(Path(whole))]
    index = cached_file(source, SAFE_WEIGHTS_INDEX_NAME, **absent)
    if not index:
        return []
    files, _ = get_checkpoint_shard_files(source, index, revision=revision)
    return [regular(Path(file)) for file in files]


def _stored_values(path: Path) -> int:
    with safe_open(path, "pt") as file:
        names = file.keys()
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
