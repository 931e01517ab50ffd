"""Read activations: the output of every decoder block at chosen positions, in one pass.

Our own hooks, never ``output_hidden_states``: in transformers 5 what that records under an edit
depends on the order in which hooks were registered. Each hook keeps one vector per row, so memory
does not grow with sequence length times layers.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from calib.data.example import Example
from calib.errors import CalibError
from calib.vlm.layers import decoder_layers
from calib.vlm.load import VLM
from calib.vlm.prompts import Positions, collate, prompt_positions, read_prompt


@torch.no_grad()
def read_activations(
    vlm: VLM,
    examples: Sequence[Example],
    positions: Positions = "last_prompt",
    batch_rows: int = 64,
    progress: Any = None,
) -> torch.Tensor:
    """Residual stream after each block, averaged over the chosen positions of each prompt.

    Returns float32 on the CPU. # [examples, layers, width]
    ``progress`` has an ``update(n)`` method (a tqdm bar) and is told of finished prompts.

    Raises CalibError when an activation is not finite, or a prompt has none of the positions.
    """
    found = []
    for start in range(0, len(examples), batch_rows):
        chunk = examples[start : start + batch_rows]
        batch = collate(vlm, [read_prompt(vlm, example) for example in chunk])
        chosen = prompt_positions(batch, positions)  # [rows, length]
        counts = chosen.sum(1)
        if (counts == 0).any():
            empty = chunk[int((counts == 0).nonzero()[0])].id
            raise CalibError(
                f"example '{empty}' has no {positions} tokens to read from. Choose other "
                "read_positions, or leave examples without a picture out."
            )
        weights = chosen.float() / counts[:, None]
        with _readers(vlm, weights) as read:
            vlm.model(**batch.inputs, use_cache=False, logits_to_keep=1)
        found.append(torch.stack(read, dim=1))
        _require_finite(found[-1], chunk)
        if progress is not None:
            progress.update(len(chunk))
    return torch.cat(found) if found else torch.empty(0, vlm.layers, vlm.width)


@contextmanager
def _readers(vlm: VLM, weights: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    layers = decoder_layers(vlm.model)
    read: list[torch.Tensor] = [torch.empty(0)] * len(layers)

    def reader(index: int) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            hidden = output if torch.is_tensor(output) else output[0]  # [rows, length, width]
            share = weights.to(hidden.device)
            # What stands at padding may be anything, also infinite, and 0 x inf is not 0.
            chosen = hidden.float().masked_fill((share == 0)[..., None], 0.0)
            mean = torch.bmm(share[:, None], chosen)[:, 0]
            # A copy: on the CPU a view would keep the whole [rows, length, width] tensor alive.
            read[index] = mean.to("cpu", torch.float32, copy=True)

        return hook

    with ExitStack() as stack:
        for index, layer in enumerate(layers):
            stack.callback(layer.register_forward_hook(reader(index)).remove)
        yield read


def _require_finite(read: torch.Tensor, examples: Sequence[Example]) -> None:
    bad = ~torch.isfinite(read).all(-1)  # [rows, layers]
    if bad.any():
        row, layer = bad.nonzero()[0].tolist()
        raise CalibError(
            f"the activations of example '{examples[row].id}' are not finite at layer {layer} "
            f"({int(bad.any(1).sum())} of {len(examples)} examples in this batch). Load the model "
            "in a wider type (model.dtype=float32 or bfloat16)."
        )
