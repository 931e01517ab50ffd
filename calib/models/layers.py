"""Where a model's decoder blocks are, and the sites in them that can be read and changed.

Found by structure, never by the depth of a model or the name of its class.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import nn

from calib.util.errors import CalibError

Site = Literal["residual", "heads", "mlp"]
"""Where in a decoder block: "residual" is its output, the residual stream; "heads" is what its
attention heads give, side by side, before the output projection mixes them; "mlp" is what its MLP
gives, before that is normed or added to the residual stream."""
LayerSite = tuple[int, Site]
"""A 0-based decoder block and a site in it."""

ActivationEdit = Callable[[torch.Tensor], torch.Tensor]
"""What becomes of the activations at a site. # [rows, tokens, width of the site]"""

PROJECTIONS = ("o_proj", "out_proj", "dense")
MLPS = ("mlp", "feed_forward")


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
    """The decoder blocks in order; layer i of a direction is block i."""
    return decoder(model).layers


def site_width(model: Any, site: Site) -> int:
    """Width of the activations at a site: for heads, their number times the width of each.

    Raises CalibError when the model's blocks have no such site.
    """
    if site == "heads":
        return _projection(model, 0).in_features
    return model.config.get_text_config(decoder=True).hidden_size


def hook_at(
    model: Any,
    at: LayerSite,
    seen: Callable[[torch.Tensor], torch.Tensor | None],
    prepend: bool = False,
) -> Any:
    """Call ``seen`` with the activations at a site and put what it returns in their place; None
    leaves them. Returns the handle that removes the hook.

    Raises CalibError when the block has no such site.
    """
    layer, site = at

    def before(module: Any, args: Any) -> Any:
        new = seen(args[0])
        return None if new is None else (new, *args[1:])

    def after(module: Any, args: Any, output: Any) -> Any:
        alone = torch.is_tensor(output)
        new = seen(output if alone else output[0])
        return new if new is None or alone else (new, *output[1:])

    if site == "heads":
        return _projection(model, layer).register_forward_pre_hook(before, prepend=prepend)
    block = decoder_layers(model)[layer]
    module = block if site == "residual" else _mlp(model, block)
    return module.register_forward_hook(after, prepend=prepend)


def _projection(model: Any, layer: int) -> Any:
    """The output projection of a block's attention: of its parts, only attention has one."""
    block = decoder_layers(model)[layer]
    for part in block.children():
        for name in PROJECTIONS:
            found = getattr(part, name, None)
            if isinstance(getattr(found, "in_features", None), int):
                return found
    raise _no_site(model, block, "attention with an output projection", PROJECTIONS)


def _mlp(model: Any, block: Any) -> Any:
    for name in MLPS:
        if isinstance(getattr(block, name, None), nn.Module):
            return getattr(block, name)
    raise _no_site(model, block, "MLP", MLPS)


def _no_site(model: Any, block: Any, missing: str, names: tuple[str, ...]) -> CalibError:
    return CalibError(
        f"{type(model).__name__}: its {type(block).__name__} has no {missing} "
        f"({', '.join(names)}). Of this architecture only the residual stream can be read and "
        "edited (site residual)."
    )


@contextmanager
def edit_activations(model: Any, changes: Mapping[LayerSite, ActivationEdit]) -> Iterator[None]:
    """While open, the activations at some sites are what ``changes`` makes of them.

    Registered first, so that whoever reads sees what was changed; removed exactly, also after an
    exception.
    """
    with ExitStack() as stack:
        for at, change in changes.items():
            stack.callback(hook_at(model, at, change, prepend=True).remove)
        yield
