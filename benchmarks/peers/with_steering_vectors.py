"""steering-vectors 0.12: patches a vector into a model while a context is open.

It adds one vector to all rows; a custom operator can add one per row.
"""

import torch
from steering_vectors import SteeringVector

from benchmarks.peers.ways import Inputs
from calib.config.choices import Positions
from calib.models.load import VLM

# Given explicitly: the default guess picks the vision tower if that has more layers.
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
