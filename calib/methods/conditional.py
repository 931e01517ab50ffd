"""Conditional activation steering (CAST, arXiv 2409.05907, section 3).

    sim = cos(h_c, tanh(P h_c)),  P the projector on the condition direction of layer c
    if sim >= threshold (or below it):  h_l  <-  h_l + strength x gap_l x behaviour_l

for all layers l of a band. The condition is a direction of the safety pairs, the behaviour one of
refused against answered queries. Condition layer, threshold and side are searched on validation for
the best F1 of unsafe against safe (calib.interventions.gates). Strength is in gap units.
"""

from calib.methods.steer import check, method

__all__ = ["check", "method"]
