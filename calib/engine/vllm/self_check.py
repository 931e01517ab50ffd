"""Comparison of a run's first rows on vLLM with transformers, and with their edits off."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from calib.engine.edits import Edits
from calib.engine.request import Request
from calib.engine.sharing import Difference, first_difference, selfcheck_sample
from calib.engine.vllm.activations import Reads, complete_reads
from calib.models.prompt_batch import prompt_positions, token_batch
from calib.util.errors import CalibError

if TYPE_CHECKING:
    from calib.engine.vllm.engine import VllmEngine

TOKENS = 8
"""Tokens of each row that are compared."""
PICTURE_TIES = 10.0
"""Factor of the difference of scores that counts as none, for prompts with pictures: vLLM resizes
them with torchvision, calib with pillow, and pixels may differ by one of 255 levels."""
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.02, torch.bfloat16: 0.1}
"""Accepted difference of edited activations, as a share of their norm."""


def run(engine: "VllmEngine", requests: Sequence[Request]) -> None:
    """Compare a few rows of each kind that was not compared before: edited or not, with a picture
    or without.

    Raises CalibError (self-check) if tokens differ other than by a tie, or if vLLM does not edit
    activations as the operators' formulas do.
    """
    served = engine.served
    sample = [
        request
        for request in selfcheck_sample(requests)
        if (bool(request.edits), request.example.picture is not None) not in served.checked
    ]
    if not sample:
        return
    served.checked |= {(bool(r.edits), r.example.picture is not None) for r in sample}
    for request in sample:
        if request.edits:
            try:
                _require_edited_stream(engine, request)
            except CalibError as error:
                if error.code != "too-large":  # reported after all other rows
                    raise
    if engine.vlm.has_weights:
        _require_same_tokens(engine, sample)


def _require_same_tokens(engine: "VllmEngine", sample: Sequence[Request]) -> None:
    few = engine.with_decoding(
        replace(engine.decoding, temperature=0.0, max_new_tokens=TOKENS, kl=False)
    )
    few.skip_long = True  # these rows are reported after all others
    for request, response in zip(sample, few.answer(sample), strict=True):
        if not response.tokens:  # too long
            continue
        ties = PICTURE_TIES if request.example.pictures else 1.0
        difference = first_difference(engine.vlm, request, response, TOKENS, ties)
        if difference is None:
            continue
        if not difference.is_tie:
            raise CalibError(
                "self-check",
                f"{difference} on vLLM and {difference.expected} in transformers, whose scores are "
                "no tie. Nothing was recorded. Serve the checkpoint of the run in its dtype "
                "(model.dtype), or use engine=transformers, and please report this with the "
                "versions of calib, vllm and vllm-lens.",
            )
        engine.served.notes.append(_tie(difference))


def _tie(difference: Difference) -> str:
    return (
        f"self-check: {difference} on vLLM and {difference.expected} in transformers, which are "
        "equally likely"
    )


def _require_edited_stream(engine: "VllmEngine", request: Request) -> None:
    """Compare the residual stream of a prompt with the edits off and on, at the lowest edited
    layer: vLLM's edited activations must be those of the formulas."""
    layer = min(edit.layer for edit in request.edits)
    edits = tuple(edit for edit in request.edits if edit.layer == layer)
    reads = Reads(
        engine.served.prompts, [(request.example, ()), (request.example, edits)], layers=(layer,)
    )
    streams: dict[int, torch.Tensor] = {}
    for index, completion in complete_reads(engine.backend, reads):
        assert completion.residual is not None
        streams[index] = completion.residual[layer][: len(completion.prompt_tokens)].float()
    expected = _edited(engine, request, edits, streams[0])
    tolerance = TOLERANCE.get(engine.vlm.model.dtype, TOLERANCE[torch.float32])
    scale = streams[0].norm(dim=-1) + (expected - streams[0]).norm(dim=-1)
    worst = float(((streams[1] - expected).norm(dim=-1) / scale.clamp(min=1e-12)).max())
    if worst <= tolerance or not expected.isfinite().all():
        return
    unchanged = torch.allclose(streams[0], streams[1])
    operators = ", ".join(edit.operator.name for edit in edits)
    raise CalibError(
        "self-check",
        f"vLLM {'ignores' if unchanged else 'makes other'} edits of layer {layer} ({operators}) "
        f"for example '{request.example.id}': its activations differ from the formula's by "
        f"{100 * worst:.3g} % of their norm. Nothing was recorded. Check that vLLM runs with "
        "vllm-lens, whose log says why an edit was skipped.",
    )


def _edited(
    engine: "VllmEngine", request: Request, edits: Edits, stream: torch.Tensor
) -> torch.Tensor:
    """A prompt's residual stream after edits, by their formulas. # [tokens, width]"""
    batch = token_batch(engine.served.prompts.get(request.example).tokens)
    for edit in edits:
        tensors = [tensor.float()[None, None] for tensor in edit.operator.tensors()]
        new = edit.operator.formula(stream[None], *tensors)[0]
        stream = torch.where(prompt_positions(batch, edit.positions)[0][:, None], new, stream)
    return stream
