"""Null-space steering (AlphaSteer, arXiv 2506.07022, section 4).

    P_l      projector on the directions along which safe activations hardly vary   [width, width]
    Delta_l  ridge solution of h P_l Delta_l = r_l over unsafe activations h        [width, width]
    h_l  <-  h_l + strength x h_l P_l Delta_l        at the last prompt token

r_l [width] is the refusal direction times its gap. Safe activations have almost no component in the
null space, so they are hardly changed. Because every unsafe activation has the same target,
P Delta = w r^T has rank one (calib.directions.subspaces), and the edit is an addition of r that is
linear in the projection on w. Strength 1 moves unsafe activations by about the refusal direction's
gap.
"""

from functools import partial

from calib.config.method import Nullspace
from calib.directions.subspaces import nullspace_ridge
from calib.engine.operators import LowRank
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("factor of the refusal direction's gap")


def method(fitting: Fitting, config: Nullspace) -> Method:
    """One rank-one edit per layer of the band."""
    grid = fitting.layer_grid(config)
    positions = config.read_positions
    refusal = fitting.direction(config.contrast, config.estimator, positions)
    samples = fitting.samples("safety", "train", positions, layers=grid.band)
    solve = partial(nullspace_ridge, null_share=config.null_share, ridge=config.ridge)
    readers = solve(samples).readers  # [layers, width]
    assert readers is not None
    reader_of_layer = dict(zip(grid.band, readers, strict=True))

    def intervention(layer: int | None, strength: float) -> Intervention:
        def rank_one(number: int) -> LowRank:
            return LowRank(reader_of_layer[number][None], refusal.at(number, strength)[None])

        return Intervention(edits_at(grid.edited(layer), rank_one, config.positions))

    return Method(config.name, AXIS, grid.layers, intervention, refusal)
