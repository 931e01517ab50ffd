"""Steering whose sign is decided by a probe (Refusal Control, arXiv 2603.13359).

    p(x) = logistic probe of the unsafe class at one layer, at the last prompt token
    h_l  <-  h_l + strength x gap_l x direction_l     if p(x) >= threshold: towards refusal
    h_l  <-  h_l - strength x gap_l x direction_l     otherwise

direction_l [width] is the mean difference of refused and answered queries. Probe layer and
threshold have the best F1 for unsafe against safe queries on validation
(calib.interventions.gates). Strength is in gap units of the direction.

The paper also mixes directions by hazard category; that is left out.
"""

from calib.methods.steer import check, method

__all__ = ["check", "method"]
