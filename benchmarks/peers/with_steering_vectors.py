"""steering-vectors 0.12: a vector patched into a model for as long as a context is open.

It patches one vector; an operator of one's own, which it also takes, can add one per row.
"""

import torch
from steering_vectors import SteeringVector

from benchmarks.peers.ways import Inputs
from calib.config.choices import Positions
from calib.models.load import VLM

# Named, not guessed: its guess takes the vision tower where that is the deeper one.
BLOCKS = {"decoder_block": "model.language_model.layers.{num}"}


class SteeringVectors:
    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm

    def generate(
        self,
        inputs: Inputs,
        layer: int,
        added: torch.Tensor,
        positions: Positions,
        max_new_tokens: int,
    ) -> torch.Tensor:
        single = added.dim() == 1
        patch = SteeringVector({layer: added if single else torch.zeros(self.vlm.width)})
        tokens = {"min_token_index": 0} if positions == "all" else {"token_indices": [-1]}
        if positions != "all":
            tokens["min_token_index"] = None
        operator = None if single else lambda activation, vector: added
        with patch.apply(self.vlm.model, BLOCKS, operator=operator, **tokens):
            return self.vlm.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
