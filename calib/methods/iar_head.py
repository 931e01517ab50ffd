"""Internal Activation Revision at attention heads (arXiv 2501.16378).

    rank all heads by the validation accuracy of a logistic probe on their outputs, take the best K
    x_head  <-  x_head + strength x sigma_head x theta_head        at every generated token

x_head [head width] is a head's output before the attention's output projection; theta_head and
sigma_head are computed as in iar_layer, for each head. Strength is in standard deviations.

The authors released no code: this follows the paper's description, and the recipe of inference-time
intervention (arXiv 2306.03341, section 3).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from sklearn.linear_model import LogisticRegression

from calib.config.choices import Split
from calib.config.method import Revision
from calib.data.example import Example
from calib.directions.samples import Samples
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Intervention, Method
from calib.methods.iar_layer import AXIS, deviations, revision_vectors
from calib.models.load import VLM
from calib.util.errors import CalibError


def check(config: Revision, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError (conflicting-settings) for settings that select single layers."""
    if config.all_layers_at_once or config.layers == "auto":
        raise CalibError(
            "conflicting-settings",
            f"method={config.name} edits the method.heads best heads of all method.layers at once. "
            "Omit method.all_layers_at_once and method.layers=auto.",
        )


def method(fitting: Fitting, config: Revision) -> Method:
    """All selected heads at once.

    Raises CalibError (too-few) if there are no validation samples to rank the heads with.
    """
    layers = fitting.layers(config.layers)
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
            f"{len(sides.negative)} negative examples. Use more data (data.limit, data.parts), or "
            "other method.samples.",
        )
    train, validation = head_samples("train"), head_samples("validation")
    accuracy = probe_accuracy(train, validation)  # [layers x heads]
    best = sorted(range(len(accuracy)), key=lambda head: -accuracy[head])[: config.heads]
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
        f"{accuracy[best[-1]]:.2f} to {accuracy[best[0]]:.2f}"
    )
    return Method(config.name, AXIS, [None], intervention, notes=[note])


def split_heads(samples: Samples, head_count: int) -> Samples:
    """Samples in which each head takes the place of a layer.

    # [examples, layers, heads x head width] -> [examples, layers x heads, head width]
    """

    def split(side: torch.Tensor) -> torch.Tensor:
        return side.unflatten(-1, (head_count, -1)).flatten(1, 2)

    return replace(samples, positive=split(samples.positive), negative=split(samples.negative))


def probe_accuracy(train: Samples, validation: Samples) -> Sequence[float]:
    """Balanced accuracy on validation of a logistic probe of each head. # [layers x heads]"""
    accuracies = []
    for head in range(train.positive.shape[1]):
        rows = torch.cat([train.positive[:, head], train.negative[:, head]]).double().numpy()
        labels = [1] * len(train.positive) + [0] * len(train.negative)
        probe = LogisticRegression(max_iter=1000, class_weight="balanced").fit(rows, labels)
        sides = ((validation.positive, 1), (validation.negative, 0))
        correct = [probe.predict(side[:, head].double().numpy()) == label for side, label in sides]
        accuracies.append(float(sum(side.mean() for side in correct) / 2))
    return accuracies
