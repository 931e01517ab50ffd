"""Representation control: the first principal component of the pairs' differences, added over a
band of layers (RepE's linear artificial tomography, arXiv 2310.01405, sections 3.1 and 4.1).

    direction_l = first principal component of +-(h_l(unsafe) - h_l(safe)),  l in the band  [width]
    h_l  <-  h_l + strength x gap_l x direction_l        for all l of the band at once

Strength is in gap units at every layer of the band.

Authors: the component of the differences of two prompts, paired at random order and centred, read
at the last token; its sign is the one that separates most pairs. The unit component, times its
sign and a coefficient in units of the activation, is added at all tokens of the prompt and of the
response, at the outputs of a band of blocks.

Here: the same tokens (positions=all) and band. Each difference is taken in both orders, which
centres them without chance, and the sign is that of the mean difference. The coefficient is
strength times the gap, the mean difference along the component, so that strengths are comparable.

Supervised: yes (which query of a pair is unsafe orients the component; the component itself is
unsupervised).

Searched: the strength, both signs, and the first edited layer where method.first_layers is given.
"""

from calib.methods.steer import check, method

__all__ = ["check", "method"]
