"""ShiftDC: remove the component of the picture's shift along the safety direction
(arXiv 2502.13095, section 4).

    s_l = mean h_l(safe queries) - mean h_l(unsafe queries), with captions for pictures     [width]
    m_l = h_l(picture, query) - h_l(caption, query), the modality shift of an input         [width]
    h_l  <-  h_l - strength x (m_l . s_l / s_l . s_l) s_l           at the last prompt token

for the upper half of the layers. Captions are written by the model itself or come from a file.
Examples without a picture have no shift. Strength 1 removes the whole component.
"""

from collections.abc import Sequence

import torch

from calib.config.method import Captioned
from calib.data.example import Example
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method
from calib.interventions.pictures import Captions, check_captions
from calib.interventions.prompting import prompt_text
from calib.models.load import VLM

AXIS = Axis("share of the modality shift along the safety direction that is removed")


def check(config: Captioned, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError if no example has a picture, or captions cannot be obtained."""
    check_captions(config, examples)
    if config.captions is None:
        prompt_text(config, vlm, "question")


def method(fitting: Fitting, config: Captioned) -> Method:
    """An edit for each example, computed from its own shift."""
    grid = fitting.layer_grid(config)
    positions = config.read_positions
    captions = Captions(fitting, config)
    train = fitting.sides("safety", "train")

    def mean(examples: Sequence[Example]) -> torch.Tensor:  # [layers, width]
        captioned = captions.replace_pictures(examples)
        return fitting.activations(captioned, grid.band, positions).mean(0)

    safety = mean(train.negative) - mean(train.positive)
    safety = safety / safety.norm(dim=-1, keepdim=True)  # [layers, width]

    def intervention(layer: int | None, strength: float) -> Intervention:
        def rule(examples: Sequence[Example]) -> list[Edits]:
            pictured = [example for example in examples if example.picture is not None]
            if not pictured:
                return [()] * len(examples)
            shift = fitting.activations(pictured, grid.band, positions)
            captioned = captions.replace_pictures(pictured)
            shift = shift - fitting.activations(captioned, grid.band, positions)
            removed = strength * (shift * safety).sum(-1, keepdim=True) * safety
            by_example = dict(zip(map(id, pictured), removed, strict=True))  # [layers, width] each

            def edits(example: Example) -> Edits:
                if id(example) not in by_example:
                    return ()
                by_layer = dict(zip(grid.band, by_example[id(example)], strict=True))

                def removal(number: int) -> Add:
                    return Add(-by_layer[number])

                return edits_at(grid.edited(layer), removal, config.positions)

            return [edits(example) for example in examples]

        return Intervention(rule=rule)

    return Method(config.name, AXIS, grid.layers, intervention)
