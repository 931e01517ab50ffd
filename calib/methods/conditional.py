"""Conditional activation steering (CAST, arXiv 2409.05907, section 3).

    sim = cos(h_c, tanh(P h_c)),  P [width, width] the projector on the condition of layer c
    if sim >= threshold (or below it):  h_l  <-  h_l + strength x gap_l x direction_l

for all layers l of a band, at all prompt and response tokens. h_c [width] is the mean over all
prompt tokens. The condition is the first principal component of the differences between unsafe and
safe queries; direction_l [width] is that of the differences between refusals and answers to the
same queries. Strength is in gap units.

Authors: the condition vector comes from activations averaged over all tokens of contrastive
prompts, and the condition is evaluated once on the prompt, in the released code's default mode
"mean". The behaviour vector is a PCA over the tokens of suffixes, 100 refusing and complying ones,
and is added at unit length times a strength to all tokens at every step. Layer, threshold (steps of
0.01) and side of the condition have the best F1 in a grid search; behaviour layers and strength are
chosen by hand. The released code reads the input of a layer for the condition, and trains the
vector on the output.

Here: the same condition, tokens and search, with every threshold between two neighbouring scores of
the validation pairs; activations are those of a block's output throughout. The suffixes are the
model's own refusals and answers (contrast=responses). contrast=refusal with
estimator=mean_difference takes refused minus answered queries at the last prompt token instead.

Supervised: yes (labels give the contrast of the condition, and those of validation its layer,
threshold and side; no classifier is trained).

Searched: layer, threshold and side of the condition by F1 on validation; strength (and, with
first_layers, the first edited layer) on validation.
"""

from calib.methods.steer import check, method

__all__ = ["check", "method"]
