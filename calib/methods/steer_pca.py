"""Representation control: the first principal component of the pairs' differences, added over a
band of layers (RepE's linear artificial tomography, arXiv 2310.01405, sections 3.1 and 4.1).

    direction_l = first principal component of +-(h_l(unsafe) - h_l(safe)),  l in the band  [width]
    h_l  <-  h_l + strength x gap_l x direction_l        for all l of the band at once

Strength is in gap units at every layer of the band.
"""

from calib.methods.steer import check, method

__all__ = ["check", "method"]
