"""Where a model's decoder blocks are, found by structure and never by name or depth."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from calib.errors import CalibError


def decoder(model: Any) -> Any:
    """The text decoder: the module that owns the list of decoder blocks.

    Vision towers are often deeper than the language model, so neither "the longest list" nor "the
    most frequent name" finds it; ``get_decoder`` does, and the text config confirms it.

    Raises CalibError when the model has no decoder of that shape.
    """
    found = model.get_decoder() if hasattr(model, "get_decoder") else None
    for _ in range(3):
        if found is None or isinstance(getattr(found, "layers", None), nn.ModuleList):
            break
        found = getattr(found, "model", None) or getattr(found, "decoder", None)
    config = getattr(model, "config", None)
    expected = config.get_text_config(decoder=True).num_hidden_layers if config else None
    layers = getattr(found, "layers", None)
    if found is None or not isinstance(layers, nn.ModuleList) or len(layers) != expected:
        given = len(layers) if isinstance(layers, nn.ModuleList) else "none"
        raise CalibError(
            f"{type(model).__name__}: found {given} decoder blocks where its config names "
            f"{expected}. This architecture is not supported; use a vision-language model whose "
            "decoder is a plain list of blocks."
        )
    return found


def decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder blocks in order; layer i of a direction is the output of block i."""
    return decoder(model).layers


@contextmanager
def changing(
    model: Any, changes: Mapping[int, Callable[[torch.Tensor], torch.Tensor]]
) -> Iterator[None]:
    """While open, the outputs of some decoder blocks are what ``changes`` (by layer) makes of them.

    Registered first, so that whoever reads sees the changed output; removed exactly, also after an
    exception.
    """

    def hook_of(change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        def hook(module: Any, args: Any, output: Any) -> Any:
            if torch.is_tensor(output):
                return change(output)
            return (change(output[0]), *output[1:])

        return hook

    layers = decoder_layers(model)
    with ExitStack() as stack:
        for layer, change in changes.items():
            hook = layers[layer].register_forward_hook(hook_of(change), prepend=True)
            stack.callback(hook.remove)
        yield
