"""Null-space steering (AlphaSteer, arXiv 2506.07022, section 4).

    P_l      projector on the directions in which safe activations hardly vary
    Delta_l  the ridge solution of h P_l Delta_l = r_l over unsafe activations h
    h_l  <-  h_l + strength x h_l P_l Delta_l

at the last prompt token, with r_l the refusal direction with its gap. Safe activations have next to
nothing in that null space, so they are left alone. As every unsafe activation has the same target,
P Delta = w r^T has rank one (calib.directions.subspaces): the edit is strength linear in the
projection on w. Strength 1 moves unsafe activations by about the gap of the refusal direction.
"""

from functools import partial

from calib.config.method import Nullspace
from calib.directions.subspaces import nullspace_ridge
from calib.engine.operators import LowRank
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at, grid_layers
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("factor of the refusal direction's gap")


def method(fitting: Fitting, config: Nullspace) -> Method:
    """One rank-one edit per layer of the band."""
    layers = fitting.layers(config.layers)
    positions = config.read_positions
    refusal = fitting.direction(config.contrast, config.estimator, positions)
    samples = fitting.samples("safety", "train", positions, layers=layers)
    solve = partial(nullspace_ridge, null_share=config.null_share, ridge=config.ridge)
    readers = solve(samples).readers  # [layers, width]
    assert readers is not None
    reader = dict(zip(layers, readers, strict=True))

    def change(layer: int | None, strength: float) -> Intervention:
        def solved(at: int) -> LowRank:
            return LowRank(reader[at][None], refusal.at(at, strength)[None])

        return Intervention(edits_at(layer, layers, solved, config.positions))

    return Method(
        config.name, AXIS, grid_layers(layers, config.all_layers_at_once), change, refusal
    )
