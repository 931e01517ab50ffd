"""Steering whose sign a probe decides (Refusal Control, arXiv 2603.13359, of which this is the sign
and the mean-difference direction, without its mix of directions by hazard category).

    p(x) = logistic probe of the unsafe class at one layer, the last prompt token
    h_l  <-  h_l + strength x gap_l x direction_l     if p(x) >= threshold, towards refusing
    h_l  <-  h_l - strength x gap_l x direction_l     otherwise

Probe layer and threshold have the best F1 of unsafe against safe on validation
(calib.interventions.gates). Strength is in gap units of the direction.
"""

from calib.methods.steer import check, method

__all__ = ["check", "method"]
