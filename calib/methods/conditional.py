"""Conditional activation steering (CAST, arXiv 2409.05907, section 3).

    sim = cos(h_c, tanh(P h_c)),  P [width, width] the projector on the condition of layer c
    if sim >= threshold (or below it):  h_l  <-  h_l + strength x gap_l x direction_l

for all layers l of a band. The condition is a direction between unsafe and safe queries;
direction_l [width] points from answered to refused queries. Condition layer, threshold and side
have the best F1 for unsafe against safe queries on validation (calib.interventions.gates). Strength
is in gap units.
"""

from calib.methods.steer import check, method

__all__ = ["check", "method"]
