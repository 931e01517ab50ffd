"""What prompts of other rows, or of none, say first without edits: KL is measured against it."""

from collections.abc import Sequence

import torch

from calib.engine.packing import Room
from calib.engine.reading import like_length
from calib.engine.row import Row
from calib.engine.tally import Tally
from calib.vlm.load import VLM
from calib.vlm.prompts import collate


class Bases:
    """First logits of the prompts that rows name as their base, each computed once."""

    def __init__(self, vlm: VLM, tally: Tally) -> None:
        self.vlm, self.tally = vlm, tally
        # By prompt, on the CPU and in the model's type: many vocabularies wide. # [vocabulary]
        self._logits: dict[int, torch.Tensor] = {}

    def read(self, rows: Sequence[Row], room: Room) -> None:
        """Read the bases of rows that have not been read yet; what was read is kept if memory runs
        out."""
        named = {id(row.base): row.base for row in rows if row.base is not None}
        prompts = [prompt for key, prompt in named.items() if key not in self._logits]
        for chosen in like_length(prompts, room.slots, room.tokens):
            batch = collate(self.vlm, [prompts[k] for k in chosen])
            logits = self.vlm.model(
                **batch.inputs, position_ids=batch.places, use_cache=False, logits_to_keep=1
            ).logits[:, -1]
            for k, found in zip(chosen, logits, strict=True):
                self._logits[id(prompts[k])] = found.to("cpu", copy=True)
            self.tally.prefill_token_layers += batch.tokens.numel() * self.vlm.layers

    def logits(self, row: Row) -> torch.Tensor:
        """First logits of a row's base. # [vocabulary] float32, on the CPU"""
        return self._logits[id(row.base)].float()
