"""DUAL-Bench (Ren et al., arXiv 2510.10846): instructions as pictures to describe, and perturbed.

A harmful instruction and its benign twin look alike, and each has five perturbations. The paper's
own instructions are not published. calib uses templates with placeholder content, the user's twins
(data.twins), or a folder that calib.dualbench wrote (data.root).
"""

from calib.data.dualbench.loading import load as load
