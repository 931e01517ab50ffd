"""Adaptive removal of a direction (ASTRA, arXiv 2411.16721, section 3.3).

    c = clip(cos(h_l - h_ref, v_l), 0, 1)
    h_l  <-  h_l - strength x c x |h_l| x v_l        at the last position of every step

v_l is the unit direction to remove and h_ref the mean activation of safe queries, both [width], so
that c is near 0 for safe queries. Strength is a share of the activation's norm.

The paper attributes v to adversarial images. Here it is the negative side of a contrast; by
default, what makes the model answer unsafe queries (answered minus refused).
"""

from calib.config.method import Directed
from calib.engine.operators import AblateByCosine
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("as a share of the activation's norm", signed=False, default_scale=0.5)


def method(fitting: Fitting, config: Directed) -> Method:
    """One direction to remove per layer."""
    positions = config.read_positions
    direction = fitting.direction(config.contrast, config.estimator, positions)
    reference = fitting.samples("safety", "train", positions).negative.mean(0)  # [layers, width]
    grid = fitting.layer_grid(config)

    def intervention(layer: int | None, strength: float) -> Intervention:
        def removal(number: int) -> AblateByCosine:
            vector = -direction.vectors[direction.row(number)]
            return AblateByCosine(vector, strength, reference[number])

        return Intervention(edits_at(grid.edited(layer), removal, config.positions))

    return Method(config.name, AXIS, grid.layers, intervention, direction)
