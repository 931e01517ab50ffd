"""Show that vLLM adds a steering vector as asked, before a run depends on it.

vllm-lens leaves a vector out, without an error, if something about it does not fit the model, and
a server without the plugin ignores all vectors. So the residual stream is compared with and without
one: at its layer, the difference must be the vector.
"""

from collections.abc import Mapping
from typing import Any

import torch

from calib.engine.operators import Add
from calib.engine.vllm.edits import require_edited
from calib.engine.vllm.hook_code import edit_function, registered
from calib.engine.vllm.request import Backend, Hook, SteeringVector, VllmRequest
from calib.util.errors import CalibError

SHARE = 0.25
"""Length of the vector, as a share of the length of the last token's activations: enough to
measure in bfloat16, and too little to change much."""
TOLERANCE, ROUNDING = 0.1, 2**-7
"""Greatest error, as a share of the vector's length plus one of the activations' length."""
_TOKENS = 2
"""One generated token is read, too, so that it shows whether it is edited."""


def probe(backend: Backend, messages: list[dict[str, Any]], width: int, layers: int) -> None:
    """Compare the residual stream with and without a vector, at the first and the last layer.

    ``width`` and ``layers`` are those of the run's model.

    Raises CalibError if vLLM runs without vllm-lens, serves a model of another size, or does not
    add the vector to every token.
    """
    chosen = sorted({0, layers - 1})
    plain = VllmRequest(messages, _TOKENS, residual_layers=tuple(chosen))
    ((_, unedited),) = backend.complete([plain], 1)
    base = _streams(unedited.residual, width)
    requests, vectors = [], []
    for layer in chosen:
        signs = torch.tensor([1.0, -1.0]).repeat(width)[:width]
        scale = SHARE * float(base[layer][len(unedited.prompt_tokens) - 1].norm())
        vectors.append(scale * signs / width**0.5)
        steering = SteeringVector((layer,), vectors[-1][None])
        requests.append(VllmRequest(messages, _TOKENS, vectors=(steering,),
                                    residual_layers=(layer,)))  # fmt: skip
    for index, edited in backend.complete(requests, len(requests)):
        layer, vector = chosen[index], vectors[index]
        stream = _streams(edited.residual, width)[layer]
        same = len(edited.prompt_tokens) + (edited.tokens[:1] == unedited.tokens[:1])
        difference = (stream - base[layer])[:same]  # of the same tokens
        allowed = TOLERANCE * vector.norm() + ROUNDING * base[layer][:same].norm(dim=-1)
        wrong = ((difference - vector).norm(dim=-1) > allowed).nonzero().flatten().tolist()
        if wrong:
            raise CalibError(
                "self-check",
                f"vLLM did not add a steering vector at layer {layer} as asked: {len(wrong)} of "
                f"{same} tokens have other activations, the first at position {wrong[0]}. Use a "
                "version of vllm-lens that fits vLLM's, and start the server with --enforce-eager.",
            )


def probe_hook(backend: Backend, messages: list[dict[str, Any]], width: int) -> None:
    """Send one hook that changes nothing, before methods are fitted that need hooks.

    Raises CalibError if the server refuses hooks (unsupported) or does not run them (self-check).
    """
    registered()
    ((_, plain),) = backend.complete([VllmRequest(messages, 1)], 1)
    nothing = Add.formula, Add(torch.zeros(width)).tensors(), None, True
    hook = Hook(edit_function({0: [nothing]}, len(plain.prompt_tokens)), (0,))
    try:
        ((_, completion),) = backend.complete([VllmRequest(messages, _TOKENS, hooks=(hook,))], 1)
    except CalibError as error:
        if error.code != "endpoint":
            raise
        raise CalibError(
            "unsupported",
            f"engine.hooks=true: the server refuses hooks. {error} Servers that are not vLLM with "
            "vllm-lens refuse them, and so does calib.serve: for these give method.operator=add "
            "with method.positions=all, without engine.hooks.",
        ) from None
    require_edited(completion, hook.layers, "a probe")


def _streams(residual: Mapping[int, torch.Tensor] | None, width: int) -> dict[int, torch.Tensor]:
    """Activations by layer in float32. # [tokens, width] each"""
    assert residual is not None, "activations were requested"
    found = next(iter(residual.values())).shape[-1]
    if found != width:
        raise CalibError(
            "mismatch",
            f"vLLM serves a model of width {found}, but this run's model has {width}: it is "
            "another model.",
        )
    return {layer: stream.float() for layer, stream in residual.items()}
