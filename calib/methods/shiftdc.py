"""ShiftDC: take what the picture shifts along the safety direction out again (arXiv 2502.13095,
section 4).

    s_l = mean h_l(safe queries) - mean h_l(unsafe queries), pictures replaced by their captions
    m_l = h_l(picture, query) - h_l(caption, query)                 the modality shift of an input
    h_l  <-  h_l - strength x (m_l . s_l / s_l . s_l) s_l           at the last prompt token

for the upper half of the layers. Captions are the model's own, or come from a file; an example
without a picture has no shift. Strength 1 takes the whole component out.
"""

from collections.abc import Sequence

import torch

from calib.config.method import Captioned
from calib.data.example import Example
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at, grid_layers
from calib.interventions.intervention import Axis, Intervention, Method
from calib.interventions.pictures import Captions, check_captions
from calib.interventions.prompting import prompt_text
from calib.models.load import VLM

AXIS = Axis("share of the modality shift along the safety direction that is removed")


def check(config: Captioned, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError when there is nobody or nothing to caption."""
    check_captions(config, examples)
    if config.captions is None:
        prompt_text(config, vlm, "question")


def method(fitting: Fitting, config: Captioned) -> Method:
    """A shift of its own for every example."""
    layers = fitting.layers(config.layers)
    positions = config.read_positions
    captions = Captions(fitting, config)
    train = fitting.sides("safety", "train")

    def mean(examples: Sequence[Example]) -> torch.Tensor:
        return fitting.activations(captions.in_place(examples), layers, positions).mean(0)

    safety = mean(train.negative) - mean(train.positive)
    safety = safety / safety.norm(dim=-1, keepdim=True)  # [layers, width]

    def change(layer: int | None, strength: float) -> Intervention:
        def rule(examples: Sequence[Example]) -> list[Edits]:
            pictured = [example for example in examples if example.picture is not None]
            if not pictured:
                return [()] * len(examples)
            shift = fitting.activations(pictured, layers, positions)
            shift = shift - fitting.activations(captions.in_place(pictured), layers, positions)
            removed = strength * (shift * safety).sum(-1, keepdim=True) * safety
            of = dict(zip(map(id, pictured), removed, strict=True))  # [layers, width] each

            def edits(example: Example) -> Edits:
                if id(example) not in of:
                    return ()
                by_layer = dict(zip(layers, of[id(example)], strict=True))
                return edits_at(layer, layers, lambda at: Add(-by_layer[at]), config.positions)

            return [edits(example) for example in examples]

        return Intervention(rule=rule)

    return Method(config.name, AXIS, grid_layers(layers, config.all_layers_at_once), change)
