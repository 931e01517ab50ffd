"""Steering: contrastive activation addition (CAA, arXiv 2312.06681, section 3).

    h_l  <-  h_l + strength x gap_l x direction_l

after decoder block l, at the chosen positions; direction_l is a unit vector [width]. Strength is in
gap units: 1.0 moves the activation by the distance between the two class means, so that strengths
are comparable between layers and models. Positive strengths steer towards the positive side of the
contrast (unsafe, or refused), negative strengths away from it.

Authors: pairs are one question with two options, followed by the letter of one option or of the
other; the vector is the mean difference of the residual stream at that letter, one per layer. It is
added at the output of one block, with multipliers of about -2 to 2, from the last token of the
prompt's template on: at every token that a response token is sampled from.

Here: the same tokens (positions=response), layers and unit: the gap is the length of the mean
difference, so strength 1 adds the same vector as multiplier 1. The pairs are unsafe and safe
queries, read at the last prompt token, because safety pairs have no options to choose from;
contrast=responses compares refusals and answers to one query instead, read at their last token.

Supervised: yes (safety of the train queries).

Searched: layer and strength, both signs.

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
