"""pyvene 0.1: wraps a model with declared interventions.

Its AdditionIntervention has one vector for all rows; a custom function can add one per row. It
removes every hook of the model after each call, so it needs its own copy of the model.
"""

import torch
from pyvene import AdditionIntervention, IntervenableModel

from benchmarks.peers.ways import Inputs
from calib.config.choices import Positions
from calib.models.load import VLM


class Pyvene:
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
        def add(base: torch.Tensor, source: object) -> torch.Tensor:
            if positions == "all":
                return base + added
            base = base.clone()
            base[:, -1:] += added
            return base

        simple = positions == "all" and added.dim() == 1
        change = AdditionIntervention(source_representation=added) if simple else add
        component = f"model.language_model.layers[{layer}].output"
        wrapped = IntervenableModel(
            [{"component": component, "intervention": change}], model=self.vlm.model
        )
        _, output = wrapped.generate(
            inputs,
            unit_locations=None,
            intervene_on_prompt=True,
            max_new_tokens=max_new_tokens,
            do_sample=False,
        )
        return output
