"""Cross-modality representation manipulation: remove the effect of a picture on activations (CMRM,
arXiv 2410.09047, section 4).

    Delta_l = h_l(query, picture) - h_l(query)                                              [width]
    h_l  <-  h_l - strength x Delta_l                at the last prompt token

Strength is the paper's alpha: 1 removes the whole shift. Examples without a picture are not edited.

Authors: Delta is the mean over a fifth of VLSafe, with a blank or a noise picture (dataset level),
or that of the input itself (sample level); alpha is about 1. No code is public; we know the paper
from notes, which give neither the layers nor the tokens at which the shift is removed.

Here: the mean over the train examples that have a picture, safe and unsafe, with a blank picture
(method.picture); method.per_example=true measures the shift of each input. It is removed at the
last prompt token, in the middle half of the layers. A shift of length 0 is an error.

Supervised: no (the shift needs no labels).

Searched: the strength, both signs, and the first edited layer where method.first_layers is given.
"""

from collections.abc import Sequence

import torch

from calib.config.method import Modality
from calib.data.example import Example
from calib.directions.samples import require_length
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.fitted_to import in_clusters
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method
from calib.interventions.pictures import picture_variant
from calib.models.load import VLM
from calib.util.errors import CalibError

AXIS = Axis("share of the picture's shift that is removed", default_scale=0.5)


def check(config: Modality, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError (too-few) if no example has a picture."""
    if not any(example.picture is not None for example in examples):
        raise CalibError(
            "too-few",
            f"method={config.name} removes the effect of pictures, and none of the examples has "
            "one. Use data with pictures.",
        )


def method(fitting: Fitting, config: Modality) -> Method:
    """One shift per layer: the mean over the train pairs, or of each example.

    Raises CalibError if the mean is to be used and no train pair has pictures (too-few), or if
    pictures have no effect at a layer (no-solution).
    """
    grid = fitting.layer_grid(config)
    with_picture, without_picture = picture_variant(config.picture), picture_variant("none")
    pictured = [example for example in fitting.twins("train") if example.picture is not None]
    if not pictured and not config.per_example:
        raise CalibError(
            "too-few",
            f"method={config.name} averages the effect of pictures over the train pairs, none of "
            "which has pictures. Use data whose twins have pictures, or method.per_example=true.",
        )

    def shifts(examples: Sequence[Example]) -> torch.Tensor:  # [examples, layers, width]
        hidden = fitting.activations(with_picture.get(examples), grid.band, config.read_positions)
        return hidden - fitting.activations(
            without_picture.get(examples), grid.band, config.read_positions
        )

    mean_shift = None if config.per_example else shifts(pictured).mean(0)  # [layers, width]
    if mean_shift is not None:
        require_length(
            mean_shift,
            grid.band,
            f"method={config.name}: the mean effect of a picture",
            "Choose other method.layers.",
        )

    def edits(shift: torch.Tensor, layer: int | None, strength: float) -> Edits:
        added = dict(zip(grid.band, -strength * shift, strict=True))
        return edits_at(grid.edited(layer), lambda number: Add(added[number]), config.positions)

    def intervention(layer: int | None, strength: float) -> Intervention:
        shared_edits = () if mean_shift is None else edits(mean_shift, layer, strength)

        def rule(examples: Sequence[Example]) -> list[Edits]:
            pictured = [example for example in examples if example.picture is not None]
            edits_of_each = [shared_edits] * len(pictured)
            if mean_shift is None and pictured:
                edits_of_each = [edits(shift, layer, strength) for shift in shifts(pictured)]
            by_example = dict(zip(map(id, pictured), edits_of_each, strict=True))
            return [by_example.get(id(example), ()) for example in examples]

        return Intervention(rule=rule)

    if mean_shift is None:
        note = f"{config.name}: fitted to nothing; the shift is each example's own"
    else:
        mean_over = f"mean over {len(pictured)} train examples with pictures"
        note = f"{config.name}: the shift is the {mean_over}{in_clusters(pictured)}"
    return Method(config.name, AXIS, grid.layers, intervention, notes=[note], supervision="none")
