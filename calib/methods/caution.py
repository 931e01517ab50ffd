"""Defence prompt: look for harm in picture and text before acting, decline harmful requests and
carry out the others (AdaShield-S, arXiv 2403.09513, section 3.2).

    prompt = example + text

Strength is the number of a variant: of a wording in conf/method/caution.yaml, and of a place
(system prompt, before, after or around the query). Such prompts are known to raise over-refusal.

Authors: one hand-written text after the query, in the user's turn (AdaShield-S); AdaShield-A has
another model refine a pool of texts and retrieves one by similarity.
Here: AdaShield-S only, by default in the system prompt, because mini-internvl was trained on system
prompts; method.place=after is the authors' place. The wordings are ours.
Supervised: no (nothing is fitted).
Searched: wordings and places, on validation.
"""

from calib.methods.reminder import AXIS, check, method

__all__ = ["AXIS", "check", "method"]
