"""Internal Activation Revision at layers (arXiv 2501.16378; no code was released, so this follows
its description and the recipe of inference-time intervention, arXiv 2306.03341, that it builds on).

    theta_l = unit(revision vector),  sigma_l = standard deviation of the samples' h_l . theta_l
    h_l  <-  h_l + strength x sigma_l x theta_l        at every token that is generated

The revision vector is the mass-mean shift between contrastive samples, or the weights of a logistic
probe; the samples are refusals and answers to one query, unsafe and safe queries, or queries with
and without their picture (there it points to the text alone). Strength is in standard deviations.
"""

import torch

from calib.config.method import Revision
from calib.directions.estimators import ESTIMATORS
from calib.directions.samples import Samples
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at, grid_layers
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("in standard deviations along the revision vector", default_scale=2.0)
EXTRACTORS = {"mean_shift": "multi_response_means", "probe_weight": "logistic_probe"}


def method(fitting: Fitting, config: Revision) -> Method:
    """One revision vector per layer."""
    layers = fitting.layers(config.layers)
    samples = fitting.samples(config.samples, "train", config.read_positions, layers=layers)
    vectors = revision_vectors(samples, config)  # [layers, width]
    added = dict(zip(layers, vectors * deviations(samples, vectors)[:, None], strict=True))

    def change(layer: int | None, strength: float) -> Intervention:
        return Intervention(
            edits_at(layer, layers, lambda at: Add(strength * added[at]), config.positions)
        )

    return Method(config.name, AXIS, grid_layers(layers, config.all_layers_at_once), change)


def revision_vectors(samples: Samples, config: Revision) -> torch.Tensor:
    """Unit vectors towards safety. # [layers, width]"""
    vectors = ESTIMATORS[EXTRACTORS[config.extractor]](samples).vectors
    return -vectors if config.samples == "modality" else vectors


def deviations(samples: Samples, vectors: torch.Tensor) -> torch.Tensor:
    """Standard deviation of all samples' projections. # [layers]"""
    both = torch.cat([samples.positive, samples.negative])  # [samples, layers, width]
    return torch.einsum("nlw,lw->nl", both, vectors).std(0, correction=0)
