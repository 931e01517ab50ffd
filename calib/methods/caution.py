"""Defence prompt: look for harm in picture and text before acting, decline harmful requests and
carry out the others (AdaShield-S, arXiv 2403.09513, section 3.2).

    prompt = example + text

Strength is 1 with the text, 0 without it. Such prompts are known to raise over-refusal. The wording
is ours (conf/method/caution.yaml), not the paper's.
"""

from calib.methods.reminder import check, method

__all__ = ["check", "method"]
