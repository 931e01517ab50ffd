"""Visual and textual intervention, in the text decoder (VTI, arXiv 2410.15778, section 4).

    D    differences of two responses to a query, layers side by side    [queries, layers x width]
    v  = mean of D + first principal component of D, which has length 1          [layers x width]
    v_l  the part of v that belongs to layer l, at unit length                            [width]
    m_l  <-  |m_l| (m_l / |m_l| + strength x v_l) / |m_l / |m_l| + strength x v_l|

at all layers and tokens, where m_l is the output of layer l's MLP: the edit keeps its norm.
Strength is a share of that norm, 0.1 x alpha in the authors' code.

Authors: the responses are a truthful and a hallucinated caption of one picture, read at their last
token from the residual stream, with the embeddings, and with the last layer after the final norm.
The component's sign makes its largest score positive. The output of every MLP of the decoder is
turned towards v_l at every token, with strength 0.08 (alpha 0.8). A second direction, of masked
against whole pictures, edits the vision encoder.

Here: the responses are the model's refusals and answers to one unsafe query (method.samples),
averaged where there are several. The embeddings, which differ by the last word only, are left out,
and the last layer is read before the final norm. The vision encoder is not edited, because this
engine computes picture features once for all settings.

Supervised: yes (labels of the samples: refusals and answers, or unsafe and safe queries).

Searched: the strength, both signs, and the first edited layer where method.first_layers is given.
"""

import torch

from calib.config.method import Sampled
from calib.directions.estimators import group_means
from calib.directions.samples import Samples, require_length
from calib.engine.operators import AddByNormKeepingNorm
from calib.interventions.fitted_to import fitted_to
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("as a share of the norm of the MLP's output", default_scale=0.1)


def method(fitting: Fitting, config: Sampled) -> Method:
    """One direction per layer, added at all of them.

    Raises CalibError (no-solution) if the responses do not differ at a layer.
    """
    samples = fitting.samples(config.samples, "train", config.read_positions)
    directions = vti_directions(query_differences(samples))  # [all layers, width]
    if config.samples == "modality":
        directions = -directions
    grid = fitting.layer_grid(config)

    def intervention(layer: int | None, strength: float) -> Intervention:
        def addition(number: int) -> AddByNormKeepingNorm:
            return AddByNormKeepingNorm(directions[number], strength)

        return Intervention(edits_at(grid.edited(layer), addition, config.positions, "mlp"))

    note = fitted_to(config.name, config.samples, fitting.sides(config.samples, "train"))
    return Method(config.name, AXIS, grid.layers, intervention, notes=[note])


def query_differences(samples: Samples) -> torch.Tensor:
    """Mean positive minus mean negative activation of each query.

    # [queries, layers, width] float64
    """
    positive = group_means(samples.positive, samples.positive_groups)
    negative = group_means(samples.negative, samples.negative_groups)
    return torch.stack([positive[query] - negative[query] for query in positive])


def vti_directions(differences: torch.Tensor) -> torch.Tensor:
    """Mean plus first principal component over all layers, then each layer at unit length.

    The component has length 1 over all layers together, and the sign that makes its largest score
    positive. # [queries, layers, width] -> [layers, width] float32

    Raises CalibError (no-solution) if the differences of a layer are all 0.
    """
    rows = differences.double().flatten(1)  # [queries, layers x width]
    mean = rows.mean(0)
    component = torch.linalg.svd(rows - mean, full_matrices=False).Vh[0]
    scores = (rows - mean) @ component  # [queries]
    component = component * torch.sign(scores[scores.abs().argmax()])
    directions = (mean + component).unflatten(0, differences.shape[1:])
    directions[(differences == 0).all(-1).all(0)] = 0.0  # the component has rounding errors there
    require_length(
        directions,
        range(len(directions)),
        "the difference of the two sides",
        "Check that the examples differ, or choose other method.samples.",
    )
    return (directions / directions.norm(dim=-1, keepdim=True)).float()
