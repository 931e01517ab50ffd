"""Internal Activation Revision at attention heads (arXiv 2501.16378).

    rank all heads by the validation accuracy of a logistic probe on their outputs, take the best K
    x_head  <-  x_head + strength x sigma_head x theta_head        at every generated token

x_head [head width] is a head's output before the attention's output projection; theta_head and
sigma_head are computed as in iar_layer, for each head. Strength is in standard deviations.

Authors: as in iar_layer; we do not know how many heads the paper edits. Inference-time intervention
(ITI, arXiv 2306.03341, section 3), on which it builds, edits the best 48 of the 1,024 heads of a 7B
model by strength 15 at the last token of every step.

Here: K is 48, or the same share of the heads of a model that has fewer than 1,024 of them: 1 of the
24 heads of mini-internvl (method.heads). Heads of equal accuracy are ranked by the probe's loss.
The probe is fitted on train and ranked on validation; sigma is that of the train samples.

Supervised: yes (labels of the samples: refusals and answers, or unsafe and safe queries).

Searched: the strength, both signs.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss

from calib.config.choices import Split
from calib.config.method import Revision
from calib.data.example import Example
from calib.directions.samples import Samples
from calib.engine.operators import Add
from calib.interventions.fitted_to import fitted_to
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at, resolve_layers
from calib.interventions.intervention import Intervention, Method
from calib.methods.iar_layer import AXIS, deviations, revision_vectors
from calib.models.load import VLM
from calib.util.errors import CalibError

ITI_HEADS, ITI_AVAILABLE = 48, 1024
"""Heads that inference-time intervention edits, of those of its 7B model (arXiv 2306.03341)."""


def check(config: Revision, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError for settings that select single layers, and for layers without attention."""
    if config.all_layers_at_once or config.layers == "auto":
        raise CalibError(
            "conflicting-settings",
            f"method={config.name} edits the method.heads best heads of all method.layers at once. "
            "Omit method.all_layers_at_once and method.layers=auto.",
        )
    resolve_layers(vlm, config.layers, "heads")


def method(fitting: Fitting, config: Revision) -> Method:
    """All selected heads at once.

    Raises CalibError (too-few) if there are no validation samples to rank the heads with.
    """
    layers = fitting.layers(config.layers, "heads")
    head_count = fitting.vlm.model.config.get_text_config(decoder=True).num_attention_heads

    def head_samples(split: Split) -> Samples:
        read_positions = config.read_positions
        samples = fitting.samples(config.samples, split, read_positions, "heads", layers)
        return split_heads(samples, head_count)

    sides = fitting.sides(config.samples, "validation")
    if not sides.positive or not sides.negative:
        raise CalibError(
            "too-few",
            f"method={config.name} ranks heads on the validation split, where the contrast "
            f"method.samples={config.samples} has {len(sides.positive)} positive and "
            f"{len(sides.negative)} negative examples. Use more of the data, or other "
            "method.samples.",
        )
    train, validation = head_samples("train"), head_samples("validation")
    scores = probe_scores(train, validation)  # of [layers x heads]
    count = config.heads or default_head_count(len(scores))
    best = sorted(range(len(scores)), key=lambda head: scores[head], reverse=True)[:count]
    vectors = revision_vectors(train, config)  # [layers x heads, head width]
    scaled = vectors * deviations(train, vectors)[:, None]
    added = {layer: torch.zeros(head_count, scaled.shape[-1]) for layer in layers}
    for head in best:
        added[layers[head // head_count]][head % head_count] = scaled[head]
    edited_layers = [layer for layer in layers if added[layer].any()]

    def intervention(layer: int | None, strength: float) -> Intervention:
        def addition(number: int) -> Add:
            return Add(strength * added[number].flatten())

        return Intervention(edits_at(edited_layers, addition, config.positions, "heads"))

    names = ", ".join(f"{layers[head // head_count]}.{head % head_count}" for head in best)
    note = (
        f"{config.name}: heads (layer.head) {names}; probe accuracy on validation "
        f"{scores[best[-1]][0]:.2f} to {scores[best[0]][0]:.2f}"
    )
    trained = fitted_to(config.name, config.samples, fitting.sides(config.samples, "train"))
    return Method(config.name, AXIS, [None], intervention, notes=[note, trained])


def split_heads(samples: Samples, head_count: int) -> Samples:
    """Samples in which each head takes the place of a layer.

    # [examples, layers, heads x head width] -> [examples, layers x heads, head width]
    """

    def split(side: torch.Tensor) -> torch.Tensor:
        return side.unflatten(-1, (head_count, -1)).flatten(1, 2)

    return replace(samples, positive=split(samples.positive), negative=split(samples.negative))


def default_head_count(available: int) -> int:
    """The number of heads that ITI edits, or the same share of fewer heads; at least 1."""
    return min(ITI_HEADS, max(1, round(available * ITI_HEADS / ITI_AVAILABLE)))


def probe_scores(train: Samples, validation: Samples) -> list[tuple[float, float]]:
    """Balanced accuracy and negated log loss on validation of each head's logistic probe.

    # of [layers x heads]
    """
    scores = []
    labels = [1] * len(train.positive) + [0] * len(train.negative)
    held_out = [1] * len(validation.positive) + [0] * len(validation.negative)
    for head in range(train.positive.shape[1]):
        probe = LogisticRegression(max_iter=1000, class_weight="balanced")
        probe.fit(_rows(train, head), labels)
        probabilities = probe.predict_proba(_rows(validation, head))[:, 1]
        accuracy = balanced_accuracy_score(held_out, probabilities > 0.5)
        scores.append((float(accuracy), -float(log_loss(held_out, probabilities))))
    return scores


def _rows(samples: Samples, head: int) -> np.ndarray:
    """Activations of one head on both sides. # [examples, head width] float64"""
    return torch.cat([samples.positive[:, head], samples.negative[:, head]]).double().numpy()
