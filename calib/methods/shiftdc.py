"""ShiftDC: remove the component of the picture's shift along the safety direction
(arXiv 2502.13095, section 4).

    s_l = mean h_l(safe queries) - mean h_l(unsafe queries), with captions for pictures     [width]
    m_l = h_l(query, picture) - h_l(query, caption), the modality shift of an input         [width]
    h_l  <-  h_l - strength x (m_l . s_l / s_l . s_l) s_l   at the last prompt token and all
                                                             response tokens

for the upper half of the layers; s_l and m_l are read at the last prompt token. Strength 1 removes
the whole component. Examples without a picture have no shift.

Authors: s_l from 160 queries of LLaVA-Instruct and 160 of MM-SafetyBench, with captions by GPT-4o.
The caption of an input is written by the model itself, for the request at hand, and placed after
the request. The released code subtracts the shift from every token that the model generates, and
from the last prompt token; a zero-length s_l edits nothing. Strength is 1.

Here: s_l from the train pairs, with captions by the model itself or from a file (method.captions).
mini-internvl, which was trained on prompts that end with the query, reads the caption before it.
A zero-length s_l is an error.

Supervised: yes (the safety of the train pairs).

Searched: the strength, and the first edited layer where method.first_layers is given.
"""

from collections import Counter
from collections.abc import Sequence

import torch

from calib.config.method import Captioned
from calib.data.example import Example
from calib.directions.samples import require_length
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.fitted_to import fitted_to
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method
from calib.interventions.pictures import Captions, check_captions
from calib.interventions.prompting import prompt_text
from calib.models.load import VLM
from calib.util.errors import CalibError

AXIS = Axis("share of the modality shift along the safety direction that is removed")


def check(config: Captioned, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError if no example has a picture, or captions cannot be obtained."""
    check_captions(config, examples)
    prompt_text(config, vlm, "captioned")
    if config.captions is None:
        prompt_text(config, vlm, "question")


def method(fitting: Fitting, config: Captioned) -> Method:
    """An edit for each example, computed from its own shift.

    Raises CalibError (no-solution) if safe and unsafe queries are equal once captions have replaced
    the pictures.
    """
    grid = fitting.layer_grid(config)
    layers = grid.band
    captions = Captions(fitting, config)
    safety = safety_directions(fitting, config, captions, layers)  # [layers, width]

    def intervention(layer: int | None, strength: float) -> Intervention:
        def rule(examples: Sequence[Example]) -> list[Edits]:
            pictured = [example for example in examples if example.picture is not None]
            if not pictured:
                return [()] * len(examples)
            shift = fitting.activations(pictured, layers, config.read_positions)
            captioned = captions.replace_pictures(pictured)
            shift = shift - fitting.activations(captioned, layers, config.read_positions)
            removed = strength * (shift * safety).sum(-1, keepdim=True) * safety
            by_example = dict(zip(map(id, pictured), removed, strict=True))  # [layers, width] each

            def edits(example: Example) -> Edits:
                if id(example) not in by_example:
                    return ()
                by_layer = dict(zip(layers, by_example[id(example)], strict=True))

                def removal(number: int) -> Add:
                    return Add(-by_layer[number])

                return edits_at(grid.edited(layer), removal, config.positions)

            return [edits(example) for example in examples]

        return Intervention(rule=rule)

    note = fitted_to(config.name, "safety", fitting.sides("safety", "train"))
    return Method(config.name, AXIS, grid.layers, intervention, notes=[note])


def safety_directions(
    fitting: Fitting, config: Captioned, captions: Captions, layers: Sequence[int]
) -> torch.Tensor:
    """Unit vectors from unsafe to safe train queries. # [layers, width] float32"""
    train = fitting.sides("safety", "train")
    safe, unsafe = map(captions.replace_pictures, (train.negative, train.positive))
    # Equal texts may differ in their activations by rounding, so the texts are compared.
    if Counter((e.system, e.query) for e in safe) == Counter((e.system, e.query) for e in unsafe):
        raise CalibError(
            "no-solution",
            f"method={config.name}: with captions in place of pictures, the safe and the unsafe "
            f"train queries are equal (such as {safe[0].query!r}), so there is no safety "
            "direction. Captions must tell the pictures apart: give others with method.captions, "
            "or another method.question.",
        )
    means = [
        fitting.activations(side, layers, config.read_positions).mean(0) for side in (safe, unsafe)
    ]
    direction = means[0] - means[1]
    require_length(
        direction,
        layers,
        f"method={config.name}: the difference of safe and unsafe queries with captions",
        "Check the captions.",
    )
    return direction / direction.norm(dim=-1, keepdim=True)
