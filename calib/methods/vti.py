"""Visual and textual intervention, in the text decoder (VTI, arXiv 2410.15778, section 4).

    direction_l = unit(mean of the differences + their first principal component)           [width]
    h_l  <-  |h_l| (h_l / |h_l| + strength x direction_l) / |h_l / |h_l| + strength x direction_l|

at all layers and tokens; the edit keeps norms. Strength is a share of the activation's norm (the
paper's 0.1 x lambda).

The paper steers away from hallucinated answers; here the differences are those of safety pairs. Its
intervention in the vision encoder is left out, because this engine computes picture features once
for all settings.
"""

import torch
from sklearn.decomposition import PCA

from calib.config.method import Activation
from calib.engine.operators import AddByNormKeepingNorm
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("as a share of the activation's norm", default_scale=0.1)


def method(fitting: Fitting, config: Activation) -> Method:
    """One direction per layer, added at all of them."""
    grid = fitting.layer_grid(config)
    samples = fitting.samples("safety", "train", config.read_positions, layers=grid.band)
    vectors = vti_directions(samples.positive - samples.negative)
    directions = dict(zip(grid.band, vectors, strict=True))

    def intervention(layer: int | None, strength: float) -> Intervention:
        def addition(number: int) -> AddByNormKeepingNorm:
            return AddByNormKeepingNorm(directions[number], strength)

        return Intervention(edits_at(grid.edited(layer), addition, config.positions))

    return Method(config.name, AXIS, grid.layers, intervention)


def vti_directions(differences: torch.Tensor) -> torch.Tensor:
    """Mean plus first principal component of the pairs' differences, at unit length.

    The component has the sign of its projection on the mean.
    # [pairs, layers, width] -> [layers, width]
    """
    directions = []
    for layer in range(differences.shape[1]):
        rows = differences[:, layer].double()
        mean = rows.mean(0)
        component = torch.from_numpy(PCA(1, svd_solver="full").fit(rows.numpy()).components_[0])
        component = component * torch.sign(component @ mean)
        direction = mean + component
        directions.append((direction / direction.norm()).float())
    return torch.stack(directions)
