"""Steering whose sign is decided by a probe (Refusal Control, arXiv 2603.13359).

    p(x) = logistic probe of the unsafe class at one layer, at the last prompt token
    h_l  <-  h_l + strength x gap_l x direction_l     if p(x) >= threshold: towards refusal
    h_l  <-  h_l - ratio x strength x gap_l x direction_l     otherwise

at every token from which the response is sampled: the last prompt token and all response tokens.
direction_l [width] is the mean difference of refused and answered queries, of which only the
top_channels largest channels are kept. ratio is opposite_ratio. Strength is in gap units of the
direction.

Authors: mean activations of harmful prompts of one category, after the category's refusal token,
minus those of benign prompts after the respond token; the 200 largest of 4,096 channels, at unit
length. One layer (18 of 32), the last token of every step, +4 for prompts that the probe finds
harmful and -6 for others. The probe is linear, trained on labelled prompts; its threshold has the
best Youden index. A second variant learns a low-rank mix of the categories' directions.

Here: one direction for all categories, from the judged responses of train pairs, because ordinary
models have no refusal tokens; no low-rank mix. The ratio of the two strengths, the 200 channels (a
narrower model keeps all), the probe, its criterion and the tokens are the authors'. Strength is in
gaps, not in multiples of a unit vector.

Supervised: yes (the probe is trained on the safe and unsafe labels of the train pairs).

Searched: layer and threshold of the probe by Youden index on validation; layer and strength of the
edit on validation.
"""

from calib.methods.steer import check, method

__all__ = ["check", "method"]
