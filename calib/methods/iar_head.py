"""Internal Activation Revision at attention heads (arXiv 2501.16378; no code was released, so this
follows its description and the recipe of inference-time intervention, arXiv 2306.03341, section 3).

    rank all heads by the validation accuracy of a logistic probe on their outputs, keep the best K
    x_head  <-  x_head + strength x sigma_head x theta_head     at every token that is generated

x_head is a head's output before the attention's output projection; theta and sigma as in iar_layer,
for each head. Strength is in standard deviations.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from sklearn.linear_model import LogisticRegression

from calib.config.method import Revision
from calib.data.example import Example, Split
from calib.directions.samples import Samples
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.grid import edits_at
from calib.interventions.intervention import Intervention, Method
from calib.methods.iar_layer import AXIS, deviations, revision_vectors
from calib.models.load import VLM
from calib.util.errors import CalibError


def check(config: Revision, vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError for settings that mean nothing where heads are chosen from all layers."""
    if config.all_layers_at_once or config.layers == "auto":
        raise CalibError(
            f"method={config.name} edits the method.heads best heads of all of method.layers at "
            "once. Leave method.all_layers_at_once and method.layers=auto away."
        )


def method(fitting: Fitting, config: Revision) -> Method:
    """All chosen heads at once.

    Raises CalibError when there is nothing to rank them by.
    """
    layers = fitting.layers(config.layers)
    count = fitting.vlm.model.config.get_text_config(decoder=True).num_attention_heads

    def heads(split: Split) -> Samples:
        read = fitting.samples(config.samples, split, config.read_positions, "heads", layers)
        return by_head(read, count)

    held_out = fitting.sides(config.samples, "validation")
    if not held_out.positive or not held_out.negative:
        raise CalibError(
            f"method={config.name} ranks heads on the validation split, where samples="
            f"{config.samples} has {len(held_out.positive)} examples of one side and "
            f"{len(held_out.negative)} of the other. Use more data (data.limit, data.parts), or "
            "other method.samples."
        )
    train, validated = heads("train"), heads("validation")
    accuracy = probe_accuracy(train, validated)  # [layers x heads]
    best = sorted(range(len(accuracy)), key=lambda head: -accuracy[head])[: config.heads]
    vectors = revision_vectors(train, config)  # [layers x heads, head width]
    moved = vectors * deviations(train, vectors)[:, None]
    added = {at: torch.zeros(count, moved.shape[-1]) for at in layers}
    for head in best:
        added[layers[head // count]][head % count] = moved[head]
    edited = [at for at in layers if added[at].any()]

    def change(layer: int | None, strength: float) -> Intervention:
        def moved_heads(at: int) -> Add:
            return Add(strength * added[at].flatten())

        return Intervention(edits_at(None, edited, moved_heads, config.positions, "heads"))

    named = ", ".join(f"{layers[head // count]}.{head % count}" for head in best)
    note = (
        f"{config.name}: heads (layer.head) {named}; probe accuracy on validation "
        f"{accuracy[best[-1]]:.2f} to {accuracy[best[0]]:.2f}"
    )
    return Method(config.name, AXIS, [None], change, notes=[note])


def by_head(samples: Samples, heads: int) -> Samples:
    """Each head as if it were a layer. # [examples, layers, heads x head width] ->
    [examples, layers x heads, head width]"""

    def apart(side: torch.Tensor) -> torch.Tensor:
        return side.unflatten(-1, (heads, -1)).flatten(1, 2)

    return replace(samples, positive=apart(samples.positive), negative=apart(samples.negative))


def probe_accuracy(train: Samples, validated: Samples) -> Sequence[float]:
    """Accuracy on validation of a logistic probe of each head, the mean of both sides'."""
    found = []
    for head in range(train.positive.shape[1]):
        rows = torch.cat([train.positive[:, head], train.negative[:, head]]).double().numpy()
        labels = [1] * len(train.positive) + [0] * len(train.negative)
        probe = LogisticRegression(max_iter=1000, class_weight="balanced").fit(rows, labels)
        sides = ((validated.positive, 1), (validated.negative, 0))
        right = [probe.predict(side[:, head].double().numpy()) == label for side, label in sides]
        found.append(float(sum(side.mean() for side in right) / 2))
    return found
