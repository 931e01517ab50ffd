"""Steering: contrastive activation addition (CAA, arXiv 2312.06681, section 3).

Adds a direction to the activations after decoder block l, at the chosen positions:

    h_l  <-  h_l + strength x gap_l x direction_l

Strength is in gap units: 1.0 moves the activation by the distance between the two class means, so
that strengths compare across layers and models. Positive strengths steer towards the positive class
of the contrast (unsafe, or refused), negative ones away from it.

Every axis of its configuration can be changed (site, layers together, operator, gate): the named
methods that do no more than that are this one with other settings.
"""

from collections.abc import Sequence

from calib.config.method import Steer
from calib.data.example import Example
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Method
from calib.interventions.steering import check_direction, steering_method
from calib.models.load import VLM


def check(config: Steer, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError for a direction file that does not fit the model."""
    check_direction(config, vlm)


def method(fitting: Fitting, config: Steer) -> Method:
    """One setting for each layer (or for all together) and strength."""
    return steering_method(fitting, config)
