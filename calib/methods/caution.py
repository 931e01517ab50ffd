"""Defence prompt: the model is told to look for harm in picture and words before it acts, to
decline what is harmful and to carry out the rest (AdaShield-S, arXiv 2403.09513, section 3.2).

    shown = example + text

The text is ours (conf/method/caution.yaml). Known to raise over-refusal. Strength is 1 with the
text, 0 without.
"""

from calib.methods.reminder import check, method

__all__ = ["check", "method"]
