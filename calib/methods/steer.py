"""Steering: contrastive activation addition (CAA, arXiv 2312.06681, section 3).

    h_l  <-  h_l + strength x gap_l x direction_l

after decoder block l, at the chosen positions; direction_l is a unit vector [width]. Strength is in
gap units: 1.0 moves the activation by the distance between the two class means, so that strengths
are comparable between layers and models. Positive strengths steer towards the positive side of the
contrast (unsafe, or refused), negative strengths away from it.

Operator, site, layers and gate can be changed in the configuration. Methods that are only other
values of these settings share this code: conditional, refusal_control, steer_pca.
"""

from collections.abc import Sequence

from calib.config.steering import Steer
from calib.data.example import Example
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Method
from calib.interventions.steering import check_direction, steering_method
from calib.models.load import VLM


def check(config: Steer, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError for a direction file that does not fit the model."""
    check_direction(config, vlm)


def method(fitting: Fitting, config: Steer) -> Method:
    """One setting for each strength and each layer, or for all layers at once."""
    return steering_method(fitting, config)
