"""Edits as vllm-lens takes them: additions as steering vectors, all other edits as hooks.

A steering vector without positions is added to every token, also in vLLM's own code for fused
residual streams. Steering vectors with positions are not used: vllm-lens 1.3.0 counts positions
from the first token of each forward pass instead of the sequence, so that a position beyond the
prompt is never edited, and position 0 again with each generated token. Where vectors and hooks meet
at one layer, vllm-lens adds the vectors first; such a layer has one hook for all its edits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from calib.engine.edits import Edit, Edits, reach
from calib.engine.operators import Add, AddByNorm
from calib.engine.vllm.hook_code import COVERED, ERROR, HookEdit, edit_function
from calib.engine.vllm.request import Completion, Hook, SteeringVector
from calib.models.prompt_batch import prompt_positions, token_batch
from calib.models.tokens import PromptTokens
from calib.util.errors import CalibError

UNIT = 1024.0
"""Length of vectors whose norm vllm-lens matches: it adds 1e-6 to that length. A power of two."""


@dataclass(frozen=True)
class Translated:
    """The edits of one request."""

    vectors: tuple[SteeringVector, ...]
    hooks: tuple[Hook, ...]


def translate(edits: Edits, prompt: PromptTokens) -> Translated:
    """``edits`` for a prompt with these tokens.

    Raises CalibError (unsupported) for a site inside a block, and for positions that the prompt
    does not have.
    """
    by_layer, hooked_at = _by_layer(edits), hooked_layers(edits)
    plain = {layer: own for layer, own in by_layer.items() if layer not in hooked_at}
    hooked = {layer: by_layer[layer] for layer in hooked_at}
    vectors = []
    for depth in range(max(map(len, plain.values()), default=0)):
        at_depth = {layer: own[depth] for layer, own in plain.items() if len(own) > depth}
        vectors += _vectors(at_depth)
    hooks: tuple[Hook, ...] = ()
    if hooked:
        of_layers = {k: [_hook_edit(edit, prompt) for edit in own] for k, own in hooked.items()}
        hooks = (Hook(edit_function(of_layers, len(prompt.tokens)), tuple(hooked)),)
    return Translated(tuple(vectors), hooks)


def hooked_layers(edits: Edits) -> tuple[int, ...]:
    """The layers whose edits the hook of a request makes, in ascending order.

    Raises CalibError as needs_hook does.
    """
    return tuple(layer for layer, own in _by_layer(edits).items() if needs_hook(own))


def _by_layer(edits: Edits) -> dict[int, list[Edit]]:
    layers = sorted({edit.layer for edit in edits})
    return {layer: [edit for edit in edits if edit.layer == layer] for layer in layers}


def needs_hook(edits: Sequence[Edit]) -> bool:
    """Whether the edits of one layer need a hook, and are no additions to every token.

    Raises CalibError (unsupported) for a site inside a block.
    """
    for edit in edits:
        if edit.site != "residual":
            raise CalibError(
                "unsupported",
                f"engine=vllm edits the residual stream, and an edit of layer {edit.layer} is at "
                f"site={edit.site}, inside its block. Use engine=transformers.",
            )
    if any(edit.positions != "all" for edit in edits):
        return True
    # The norm that vllm-lens matches is of the activation before all vectors of the layer.
    first, *others = (type(edit.operator) for edit in edits)
    return first not in (Add, AddByNorm) or any(other is not Add for other in others)


def _vectors(edits: dict[int, Edit]) -> list[SteeringVector]:
    """Vectors of additions at several layers, one edit each."""
    added = {k: e.operator.vector for k, e in edits.items() if isinstance(e.operator, Add)}
    vectors = []
    if added:
        vectors.append(SteeringVector(tuple(added), torch.stack(list(added.values())).float()))
    for layer, edit in edits.items():
        if isinstance(operator := edit.operator, AddByNorm):
            row = UNIT * operator.direction[None].float()
            vectors.append(SteeringVector((layer,), row, scale=operator.strength, norm_match=True))
    return vectors


def _hook_edit(edit: Edit, prompt: PromptTokens) -> HookEdit:
    mask = prompt_positions(token_batch(prompt), edit.positions)[0]
    tensors = tuple(tensor.float().cpu() for tensor in edit.operator.tensors())
    _, _, generated = reach(edit.positions)
    return edit.operator.formula, tensors, None if mask.all() else mask, generated


def require_edited(completion: Completion, layers: Sequence[int], where: str) -> None:
    """Raise CalibError (self-check) unless the hook has seen every token at each of ``layers``.

    The last generated token is never read by the model. vllm-lens skips a hook that fails, and the
    response would be of the unedited model.
    """
    read = len(completion.prompt_tokens) + len(completion.tokens) - 1
    if layers and (error := completion.saved.get(ERROR)):
        raise CalibError(
            "self-check",
            f"the edits of {where} failed inside vLLM ({error}), and its response is not the "
            "edited model's. Nothing of it was recorded. Please report this with the versions "
            "of calib, vllm and vllm-lens.",
        )
    for layer in layers:
        covered = completion.saved.get(f"{COVERED}{layer}", 0)
        if not isinstance(covered, int) or covered < read:
            raise CalibError(
                "self-check",
                f"the edits of {where} reached {covered} of {read} tokens at layer {layer} "
                "inside vLLM, and its response is not the edited model's. Nothing of it was "
                "recorded. Check that the server runs vllm-lens and that its log shows no "
                "'hook error'.",
            )
