"""Cross-modality representation manipulation: take out what having a picture does (CMRM,
arXiv 2410.09047, section 4).

    Delta_l = h_l(query, picture) - h_l(query)
    h_l  <-  h_l - strength x Delta_l                at the last prompt token

The picture of Delta is blank, noise, or the example's own; Delta is the mean over the train
examples with a picture, or each example's. An example without a picture is left alone. Strength 1
takes out the whole shift.
"""

from collections.abc import Sequence

import torch

from calib.config.method import Modality
from calib.data.example import Example
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at, grid_layers
from calib.interventions.intervention import Axis, Intervention, Method
from calib.interventions.pictures import picture_variant
from calib.models.load import VLM
from calib.util.errors import CalibError

AXIS = Axis("share of the picture's shift that is removed", default_scale=0.5)


def check(config: Modality, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError when no example has a picture."""
    if not any(example.picture is not None for example in examples):
        raise CalibError(
            f"method={config.name} removes what pictures do, and none of the examples has one. "
            "Choose other data.parts or data.variants."
        )


def method(fitting: Fitting, config: Modality) -> Method:
    """One shift per layer, of the data set or of each example.

    Raises CalibError when the shift of the data set is asked for, and no train pair has pictures.
    """
    layers = fitting.layers(config.layers)
    shown, alone = picture_variant(config.picture), picture_variant("none")
    pictured = [e for e in fitting.twins("train") if e.picture is not None]
    if not pictured and not config.per_example:
        raise CalibError(
            f"method={config.name} averages what pictures do over the train pairs, and none of "
            "them has one. Choose other data.parts or data.variants, or give "
            "method.per_example=true."
        )

    def shifts(examples: Sequence[Example]) -> torch.Tensor:  # [examples, layers, width]
        with_picture = fitting.activations(shown.of(examples), layers, config.read_positions)
        return with_picture - fitting.activations(alone.of(examples), layers, config.read_positions)

    mean = None if config.per_example else shifts(pictured).mean(0)  # [layers, width]

    def edits(shift: torch.Tensor, layer: int | None, strength: float) -> Edits:
        added = dict(zip(layers, -strength * shift, strict=True))
        return edits_at(layer, layers, lambda at: Add(added[at]), config.positions)

    def change(layer: int | None, strength: float) -> Intervention:
        same = () if mean is None else edits(mean, layer, strength)

        def rule(examples: Sequence[Example]) -> list[Edits]:
            some = [example for example in examples if example.picture is not None]
            found = [same] * len(some)
            if mean is None and some:
                found = [edits(shift, layer, strength) for shift in shifts(some)]
            of = dict(zip(map(id, some), found, strict=True))
            return [of.get(id(example), ()) for example in examples]

        return Intervention(rule=rule)

    return Method(config.name, AXIS, grid_layers(layers, config.all_layers_at_once), change)
