"""VLM-Guard: remove the picture's shift within the safety subspace, and amplify unsafe components
in the subspace (arXiv 2502.10486).

    V_l   first right singular vectors of h_l(unsafe) - h_l(safe), train pairs        [rank, width]
    m_l = h_l(picture, query) - h_l(query), the visual shift of an input                    [width]
    h'  = h_l - strength x m_l V^T V
    h_l  <-  h' + strength x [h' . v_1 > 0] x h' V^T V              at the last prompt token

m_l and the condition in brackets are those of the unedited prompt. Examples without a picture have
no shift. Strength 1 removes the whole shift, with the paper's alpha of 1.

We know the paper from notes on it, and its code is not public.
"""

from collections.abc import Sequence
from functools import partial

import torch

from calib.config.method import Subspace
from calib.data.example import Example
from calib.directions.subspaces import svd_subspace
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method
from calib.interventions.pictures import picture_variant

AXIS = Axis(
    "share of the visual shift removed and of the safety component added", default_scale=0.5
)


def method(fitting: Fitting, config: Subspace) -> Method:
    """An edit for each example, computed from its own shift."""
    grid = fitting.layer_grid(config)
    positions = config.read_positions
    samples = fitting.samples("safety", "train", positions, layers=grid.band)
    basis = partial(svd_subspace, rank=config.rank)(samples).basis  # [layers, rank, width]
    without_picture = picture_variant("none")

    def intervention(layer: int | None, strength: float) -> Intervention:
        def rule(examples: Sequence[Example]) -> list[Edits]:
            hidden = fitting.activations(examples, grid.band, positions)
            plain = fitting.activations(without_picture.get(examples), grid.band, positions)
            added = guard_vectors(hidden, hidden - plain, basis, strength)

            def edits(vectors: torch.Tensor) -> Edits:  # of [layers, width]
                by_layer = dict(zip(grid.band, vectors, strict=True))

                def addition(number: int) -> Add:
                    return Add(by_layer[number])

                return edits_at(grid.edited(layer), addition, config.positions)

            return [edits(vectors) for vectors in added]

        return Intervention(rule=rule)

    return Method(config.name, AXIS, grid.layers, intervention)


def guard_vectors(
    hidden: torch.Tensor, shift: torch.Tensor, basis: torch.Tensor, strength: float
) -> torch.Tensor:
    """The vectors that are added to the unedited activations ``hidden``.

    # hidden and shift [examples, layers, width], basis [layers, rank, width]
    # -> [examples, layers, width]
    """

    def project(vectors: torch.Tensor) -> torch.Tensor:
        components = torch.einsum("elw,lrw->elr", vectors, basis)
        return torch.einsum("elr,lrw->elw", components, basis)

    removed = hidden - strength * project(shift)
    unsafe = torch.einsum("elw,lw->el", removed, basis[:, 0]) > 0
    amplified = removed + strength * unsafe[..., None] * project(removed)
    return amplified - hidden
