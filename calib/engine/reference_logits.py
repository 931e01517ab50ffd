"""First-token logits of unedited reference prompts, and the KL divergence from them."""

from collections.abc import Sequence

import torch

from calib.engine.activations import like_length
from calib.engine.batching import Room
from calib.engine.request import DecodingRow, Stats
from calib.models.load import VLM
from calib.models.prompt_batch import collate


def divergence(edited: torch.Tensor, unedited: torch.Tensor) -> torch.Tensor:
    """KL(edited || unedited) in nats from logits, per row. # [..., vocabulary] -> [...] float64"""
    # Float64: small divergences are differences of nearly equal numbers.
    p, q = edited.double().log_softmax(-1), unedited.double().log_softmax(-1)
    # A token that both rule out has 0 x (-inf + inf).
    return (p.exp() * (p - q)).nan_to_num(0.0).sum(-1).clamp(min=0.0)


class ReferenceLogits:
    """First logits of the prompts that rows name as their base, each computed once."""

    def __init__(self, vlm: VLM, tally: Stats) -> None:
        self.vlm, self.tally = vlm, tally
        # By prompt, on the CPU and in the model's type: many vocabularies wide. # [vocabulary]
        self._logits: dict[int, torch.Tensor] = {}

    def read(self, rows: Sequence[DecodingRow], room: Room) -> None:
        """Read the bases of rows that have not been read yet; what was read is kept if memory runs
        out."""
        named = {id(row.base): row.base for row in rows if row.base is not None}
        prompts = [prompt for key, prompt in named.items() if key not in self._logits]
        for chosen in like_length(prompts, room.slots, room.tokens):
            batch = collate(self.vlm, [prompts[k] for k in chosen])
            logits = self.vlm.model(
                **batch.inputs, position_ids=batch.position_ids, use_cache=False, logits_to_keep=1
            ).logits[:, -1]
            for k, found in zip(chosen, logits, strict=True):
                self._logits[id(prompts[k])] = found.to("cpu", copy=True)
            self.tally.prefill_token_layers += batch.tokens.numel() * self.vlm.num_layers

    def logits(self, row: DecodingRow) -> torch.Tensor:
        """First logits of a row's base. # [vocabulary] float32, on the CPU"""
        return self._logits[id(row.base)].float()
