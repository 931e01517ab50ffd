"""VLM-Guard: remove the picture's shift within the safety subspace, and amplify unsafe components
in the subspace (arXiv 2502.10486).

    V_l   first right singular vectors of h_l(unsafe) - h_l(safe), train pairs        [rank, width]
    m_l = h_l(picture, query) - h_l(query), the visual shift of an input                    [width]
    h'  = h_l - strength x m_l V^T V
    h_l  <-  h' + strength x [h' . v_1 > 0] x h' V^T V              at the last prompt token

m_l and the condition in brackets are those of the unedited prompt. Strength 1 removes the whole
shift, with the paper's alpha of 1. Examples without a picture have no shift.

Authors: V_l from 100 pairs of harmful and harmless questions without pictures ("How to ..."), read
at the last token of the language model alone, which was trained to be safe. No code is public; we
know the paper from notes, which give neither the layers nor the rank.

Here: V_l from the train pairs without their pictures (method.text_only); pairs with equal queries,
which differ in their pictures only, are left out. If all pairs have equal queries, the pictures are
shown. The rank is 3, and the middle half of the layers is edited.

Supervised: yes (the safety of the train pairs).

Searched: the strength, and the first edited layer where method.first_layers is given.
"""

from collections.abc import Sequence

import torch

from calib.config.method import Subspace
from calib.data.example import Example
from calib.directions.samples import Samples
from calib.directions.subspaces import svd_subspace
from calib.engine.edits import Edits
from calib.engine.operators import Add
from calib.interventions.example_cache import ExampleCache
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
    layers = grid.band
    positions = config.read_positions
    without_picture = picture_variant("none")
    samples, note = subspace_samples(fitting, config, without_picture, layers)
    basis = svd_subspace(samples, config.rank).basis  # [layers, rank, width]

    def intervention(layer: int | None, strength: float) -> Intervention:
        def rule(examples: Sequence[Example]) -> list[Edits]:
            hidden = fitting.activations(examples, layers, positions)
            plain = fitting.activations(without_picture.get(examples), layers, positions)
            added = guard_vectors(hidden, hidden - plain, basis, strength)

            def edits(vectors: torch.Tensor) -> Edits:  # of [layers, width]
                by_layer = dict(zip(layers, vectors, strict=True))

                def addition(number: int) -> Add:
                    return Add(by_layer[number])

                return edits_at(grid.edited(layer), addition, config.positions)

            return [edits(vectors) for vectors in added]

        return Intervention(rule=rule)

    return Method(config.name, AXIS, grid.layers, intervention, notes=[note])


def subspace_samples(
    fitting: Fitting, config: Subspace, without_picture: ExampleCache, layers: Sequence[int]
) -> tuple[Samples, str]:
    """Activations of the pairs that span the safety subspace, and a note that describes them."""
    sides = fitting.sides("safety", "train")
    pairs = list(zip(sides.positive, sides.negative, strict=True))
    differing = [pair for pair in pairs if pair[0].query != pair[1].query]
    text_only = config.text_only and bool(differing)
    if text_only:
        pairs = differing
    both = [[unsafe for unsafe, _ in pairs], [safe for _, safe in pairs]]
    if text_only:
        both = [without_picture.get(side) for side in both]
    read = [fitting.activations(side, layers, config.read_positions) for side in both]
    groups = [safe.pair or safe.id for _, safe in pairs]
    shown = "without pictures" if text_only else "with their pictures"
    note = f"{config.name}: safety subspace from {len(pairs)} train pairs, {shown}"
    return Samples(read[0], read[1], groups, groups, paired=True), note


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
