"""DUAL-Bench (arXiv 2510.10846): an instruction as a picture that is to be described, whose harmful
and benign twin look alike, and five perturbations of each.

The paper's own instructions are not published. These are calib's templates with placeholder
content, the user's twins, or a folder that calib.dualbench wrote.
"""

from calib.data.dualbench.loading import load as load
