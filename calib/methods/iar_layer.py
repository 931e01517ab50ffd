"""Internal Activation Revision at layers (arXiv 2501.16378).

    theta_l = unit(revision vector of layer l)                                              [width]
    sigma_l = standard deviation of h_l . theta_l over all samples
    h_l  <-  h_l + strength x sigma_l x theta_l        at every generated token

The revision vector is the mass-mean shift between contrastive samples, or the weights of a logistic
probe. Strength is in standard deviations.

Authors: contrastive samples of three kinds, two ways to extract the vector (ours are those of
inference-time intervention, ITI, arXiv 2306.03341, section 3, on which the paper builds), added at
every generated token. The best variant is that of several responses per query with the mass-mean
shift, at heads (iar_head). No code is public, and we do not know the strengths and layers.

Here: samples are refusals and answers to one unsafe query, unsafe and safe queries, or queries with
and without their picture (theta_l then points towards the text alone); method.samples. They are
read at the last token, and the edit starts at the last prompt token, which gives the first
response token. Unlike ITI's, the probe is fitted to activations of one scale.

Supervised: yes (labels of the samples: refusals and answers, or unsafe and safe queries).

Searched: the layer, and the strength with both signs.
"""

import torch

from calib.config.method import Revision
from calib.directions.estimators import ESTIMATORS
from calib.directions.samples import Samples
from calib.engine.operators import Add
from calib.interventions.fitted_to import fitted_to
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Axis, Intervention, Method

AXIS = Axis("in standard deviations along the revision vector", default_scale=2.0)
EXTRACTORS = {"mean_shift": "multi_response_means", "probe_weight": "logistic_probe"}


def method(fitting: Fitting, config: Revision) -> Method:
    """One revision vector per layer."""
    grid = fitting.layer_grid(config)
    samples = fitting.samples(config.samples, "train", config.read_positions, layers=grid.band)
    vectors = revision_vectors(samples, config)  # [layers, width]
    added = dict(zip(grid.band, vectors * deviations(samples, vectors)[:, None], strict=True))

    def intervention(layer: int | None, strength: float) -> Intervention:
        def addition(number: int) -> Add:
            return Add(strength * added[number])

        return Intervention(edits_at(grid.edited(layer), addition, config.positions))

    note = fitted_to(config.name, config.samples, fitting.sides(config.samples, "train"))
    return Method(config.name, AXIS, grid.layers, intervention, notes=[note])


def revision_vectors(samples: Samples, config: Revision) -> torch.Tensor:
    """Unit vectors that point towards safety. # [layers, width]"""
    vectors = ESTIMATORS[EXTRACTORS[config.extractor]](samples).vectors
    return -vectors if config.samples == "modality" else vectors


def deviations(samples: Samples, vectors: torch.Tensor) -> torch.Tensor:
    """Standard deviations of all samples' projections on ``vectors``. # [layers]"""
    activations = torch.cat([samples.positive, samples.negative])  # [samples, layers, width]
    return torch.einsum("nlw,lw->nl", activations, vectors).std(0, correction=0)
