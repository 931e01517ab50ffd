"""Surgical ablation of false refusal (arXiv 2410.03415, section 3).

    w = mean h(safe, refused) - mean h(safe, answered)          the false-refusal vector    [width]
    r = mean h(unsafe, refused) - mean h(safe, answered)        the refusal direction       [width]
    w  <-  w - lambda (w . r / r . r) r
    h_l  <-  h_l - strength x (h_l . w^) w^                     after every block l, at every token

with w^ = w / |w|. The means are taken at one token and one layer. lambda (``orthogonalisation``)
keeps true refusals out of the removed component; with ``refusal_strength``, r is also added at its
own layer, in gap units. Strength is the share of the component that is removed.

Authors: w from pseudo-harmful queries that are refused and harmless ones that are not, by the log
odds of first tokens; lambda 1. Candidates are the tokens of the template after the query at the
first 80 % of the layers; each w is made orthogonal to r of its own token and layer. The candidate
with the lowest refusal score of pseudo-harmful queries under ablation is used, among those with
KL(base || ablated) of at most 0.2 on harmless queries. It is removed completely at all layers and
tokens.

Here: the same selection (method.selection=published; calib.interventions.selection), with the
safe queries of the pairs, refused or answered by the judge's labels, in place of the two data
sets. First tokens of refusals, and what is edited, are as for ablate. We know the authors' code
from notes and a changed copy. Shares other than 1 are additions of ours. method.selection=grid
tries every layer at the last prompt token instead.

Supervised: yes (safety of the train and validation queries, labels of the model's responses).

Searched: token and layer, by the selection; the strength.
"""

import torch

from calib.config.method import Surgical
from calib.engine.operators import Ablate, Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method
from calib.interventions.selection import class_differences, select_candidate

AXIS = Axis("share of the component that is removed", default_scale=0.5)


def method(fitting: Fitting, config: Surgical) -> Method:
    """One false-refusal vector per layer of the grid, ablated at all ``config.edited_layers``."""
    layers, positions, notes = fitting.layers(config.layers), config.read_positions, []
    if config.selection == "published":

        def directions(positions: str) -> torch.Tensor:
            false_refusal, true_refusal = (
                class_differences(fitting, contrast, "mean_difference", positions)
                for contrast in ("false_refusal", "true_refusal")
            )
            return orthogonalised(false_refusal, true_refusal, config.orthogonalisation)

        best, note = select_candidate(fitting, config, "false_refusal", directions, induce=False)
        layers, positions, notes = [best.layer], best.positions, [note]
    false_refusal = fitting.direction("false_refusal", "mean_difference", positions)
    true_refusal = fitting.direction("true_refusal", "mean_difference", positions)
    common = [layer for layer in false_refusal.layers if layer in true_refusal.layers]
    false_refusal, true_refusal = (d.select_layers(common) for d in (false_refusal, true_refusal))
    if config.selection != "published":
        layers = fitting.layers_of(false_refusal, config.layers)
    vectors = orthogonalised(
        false_refusal.vectors, true_refusal.vectors, config.orthogonalisation
    )  # [layers, width]
    edited_layers = fitting.layers(config.edited_layers)

    def intervention(layer: int | None, strength: float) -> Intervention:
        assert layer is not None
        ablation = Ablate(vectors[false_refusal.row(layer)], strength)
        edits = edits_at(edited_layers, lambda _: ablation, config.positions)
        if config.refusal_strength:
            addition = Add(true_refusal.at(layer, config.refusal_strength))
            edits += edits_at([layer], lambda _: addition, config.positions)
        return Intervention(edits)

    return Method(config.name, AXIS, layers, intervention, false_refusal, notes)


def orthogonalised(vectors: torch.Tensor, refusal: torch.Tensor, share: float) -> torch.Tensor:
    """``vectors`` without a share of their components along ``refusal``, at unit length.

    # [layers, width] each
    """
    along = (vectors * refusal).sum(-1, keepdim=True) / refusal.square().sum(-1, keepdim=True)
    remainder = vectors - share * along * refusal
    return remainder / remainder.norm(dim=-1, keepdim=True)
