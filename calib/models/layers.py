"""Find a model's decoder blocks and the sites in them, and hook them to read or edit activations.

Blocks and sites are found by structure, never by depth or class name.
"""

import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from calib.config.choices import Site
from calib.util.errors import CalibError

LayerSite = tuple[int, Site]
"""A 0-based decoder block and a site in it.

"residual" is the block's output, i.e. the residual stream. "heads" are the concatenated outputs of
the attention heads, before the output projection. "mlp" is the MLP's output, before it is normed or
added to the residual stream."""

ActivationEdit = Callable[[torch.Tensor], torch.Tensor]
"""Maps the activations at a site to the edited ones. # [rows, tokens, site width]"""

PROJECTIONS = ("o_proj", "out_proj", "dense")
"""Names of attention's output projection."""
MLPS = ("mlp", "feed_forward")
"""Names of a block's MLP."""


def layer_numbers(layers: Any) -> list[int]:
    """One layer's number or several, as numbers of Python or in arrays and tensors, as a list.

    Raises CalibError (invalid-value) for what is neither a number nor several.
    """
    given = layers.tolist() if hasattr(layers, "tolist") else layers
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping)
    given = list(given) if several else [given]
    whole = all(isinstance(n, numbers.Integral) and not isinstance(n, bool) for n in given)
    if not given or not whole:
        raise CalibError(
            "invalid-value",
            f"layers: {layers!r:.80} names no layers. Give a layer's number, from 0, or a list.",
        )
    return [int(number) for number in given]


def decoder(model: Any) -> Any:
    """The text decoder: the module that owns the list of decoder blocks.

    Vision towers are often deeper than the language model, so neither the longest list nor the most
    frequent name identifies it. ``get_decoder`` does, and the text config confirms it.

    Raises CalibError if the model has no decoder with a plain list of blocks.
    """
    module = model.get_decoder() if hasattr(model, "get_decoder") else None
    for _ in range(3):
        if module is None or isinstance(getattr(module, "layers", None), nn.ModuleList):
            break
        module = getattr(module, "model", None) or getattr(module, "decoder", None)
    config = getattr(model, "config", None)
    expected = config.get_text_config(decoder=True).num_hidden_layers if config else None
    layers = getattr(module, "layers", None)
    if module is None or not isinstance(layers, nn.ModuleList) or len(layers) != expected:
        count = len(layers) if isinstance(layers, nn.ModuleList) else "no"
        raise CalibError(
            "unsupported",
            f"{type(model).__name__}: found {count} decoder blocks, but its config declares "
            f"{expected}. This architecture is not supported. Use a vision-language model whose "
            "decoder is a plain list of blocks.",
        )
    return module


def decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder blocks in order; layer i of a direction is block i."""
    return decoder(model).layers


def layers_with(model: Any, site: Site) -> list[int]:
    """The decoder blocks that have a site. For heads: the blocks with the most common width.

    Hybrid decoders have attention in some of their blocks only, and others have wider heads in some
    of them: one tensor holds the heads of equal width.

    Raises CalibError if no block has the site.
    """
    count = len(decoder_layers(model))
    if site == "residual":
        return list(range(count))
    widths: dict[int, list[int]] = {}
    missing: CalibError | None = None
    for layer in range(count):
        try:
            module = site_module(model, (layer, site))
        except CalibError as error:
            missing = error
            continue
        widths.setdefault(module.in_features if site == "heads" else 0, []).append(layer)
    if not widths:
        assert missing is not None
        raise missing
    return max(widths.values(), key=len)


def site_width(model: Any, site: Site) -> int:
    """Width of the activations at a site. For heads: number of heads times head width.

    Raises CalibError if the model's blocks lack the site.
    """
    if site == "heads":
        return site_module(model, (layers_with(model, site)[0], site)).in_features
    return model.config.get_text_config(decoder=True).hidden_size


def has_recurrent_state(model: Any) -> bool:
    """Whether blocks carry a state from token to token: linear attention, convolution, Mamba.

    Padding changes such a state where a block has biases, since nothing masks it, and shifts the
    chunks in which linear attention is computed.
    """
    config = model.config.get_text_config(decoder=True)
    return any(hasattr(layer, "conv_states") for layer in DynamicCache(config=config).layers)


def site_module(model: Any, at: LayerSite) -> Any:
    """The module at a site: its output, or for heads its input, are the site's activations.

    Raises CalibError if the block lacks the site.
    """
    layer, site = at
    block = decoder_layers(model)[layer]
    if site == "residual":
        return block
    return _projection(model, block) if site == "heads" else _mlp(model, block)


def _projection(model: Any, block: Any) -> Any:
    # Of a block's parts only attention has an output projection, and so have linear attention and
    # Mamba, which begin with a convolution.
    for part in block.children():
        if any(isinstance(inner, nn.Conv1d) for inner in part.children()):
            continue
        for name in PROJECTIONS:
            projection = getattr(part, name, None)
            if isinstance(getattr(projection, "in_features", None), int):
                return projection
    raise _missing_site(model, block, "attention with an output projection", PROJECTIONS)


def _mlp(model: Any, block: Any) -> Any:
    for name in MLPS:
        if isinstance(getattr(block, name, None), nn.Module):
            return getattr(block, name)
    raise _missing_site(model, block, "MLP", MLPS)


def _missing_site(model: Any, block: Any, missing: str, names: tuple[str, ...]) -> CalibError:
    return CalibError(
        "unsupported",
        f"{type(model).__name__}: its {type(block).__name__} has no {missing} "
        f"({', '.join(names)}). Only the residual stream of this architecture can be read and "
        "edited: use site residual.",
    )


def hook_at(
    model: Any,
    at: LayerSite,
    hook: Callable[[torch.Tensor], torch.Tensor | None],
    prepend: bool = False,
) -> Any:
    """Call ``hook`` with the activations at a site. Its result replaces them unless it is None.

    Returns the handle that removes the hook. Raises CalibError if the block lacks the site.
    """

    def edit_input(module: Any, args: Any) -> Any:
        new = hook(args[0])
        return None if new is None else (new, *args[1:])

    def edit_output(module: Any, args: Any, output: Any) -> Any:
        is_tensor = torch.is_tensor(output)
        new = hook(output if is_tensor else output[0])
        return new if new is None or is_tensor else (new, *output[1:])

    module = site_module(model, at)
    if at[1] == "heads":
        return module.register_forward_pre_hook(edit_input, prepend=prepend)
    return module.register_forward_hook(edit_output, prepend=prepend)


@contextmanager
def edit_activations(model: Any, edits: Mapping[LayerSite, ActivationEdit]) -> Iterator[None]:
    """Apply ``edits`` to the activations at their sites while the context is open.

    The hooks run before hooks registered earlier, so that those read the edited activations. They
    are removed on exit, also after an exception.
    """
    with ExitStack() as stack:
        for at, edit in edits.items():
            stack.callback(hook_at(model, at, edit, prepend=True).remove)
        yield
