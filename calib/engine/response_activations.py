"""Read the residual stream of a prompt and of the response that the engine gave to it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from transformers import LogitsProcessorList

from calib.engine.request import Request
from calib.engine.sharing import editing_one_row
from calib.models.layers import hook_at
from calib.models.load import VLM
from calib.models.prompt_batch import collate
from calib.models.prompts import read_prompt
from calib.util.errors import CalibError


@torch.no_grad()
def read_response_activations(
    vlm: VLM, request: Request, response: Sequence[int], layers: Sequence[int]
) -> torch.Tensor:
    """The residual stream of a prompt and of all response tokens but the last, after all edits.

    The last token of a response is never read by the model. The tokens are read again, by
    transformers' own ``generate`` with one row, which is made to choose them.

    Returns activations in the dtype of the model, on the CPU. # [layers, tokens, width]

    Raises CalibError if the model skips one of the layers for this prompt.
    """
    batch = collate(vlm, [read_prompt(vlm, request.example)])
    read: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}  # [tokens, width] each

    def hook_for(layer: int) -> Callable[[torch.Tensor], None]:
        def record(hidden: torch.Tensor) -> None:  # [1, tokens, width]
            read[layer].append(hidden[0].to("cpu", copy=True))

        return record

    length = batch.tokens.shape[1]
    with ExitStack() as stack:
        for layer in layers:  # before the edits' hooks are registered, which run first
            stack.callback(hook_at(vlm.model, (layer, "residual"), hook_for(layer)).remove)
        stack.enter_context(editing_one_row(vlm, request, batch))
        vlm.model.generate(
            **batch.inputs,
            max_new_tokens=len(response),
            do_sample=False,
            num_beams=1,
            logits_processor=LogitsProcessorList([_Forced(response, length)]),
        )
    activations = [torch.cat(parts or [torch.empty(0)]) for parts in read.values()]
    for layer, of_layer in zip(layers, activations, strict=True):
        if len(of_layer) != length + len(response) - 1:
            raise CalibError(
                "unsupported",
                f"the model does not read each token once at layer {layer}. Choose other layers.",
            )
    return torch.stack(activations)


class _Forced:
    """A logits processor that lets ``generate`` choose given tokens."""

    def __init__(self, tokens: Sequence[int], prompt_length: int) -> None:
        self.tokens, self.prompt_length = tokens, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, float("-inf"))
        forced[:, self.tokens[input_ids.shape[1] - self.prompt_length]] = 0.0
        return forced
