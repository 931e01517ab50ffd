"""Gates: whether an example is edited at all, decided once from its prompt.

    cosine  CAST (arXiv 2409.05907, section 3.2): with c the condition direction of a layer (the
            first principal component of the unsafe-safe differences), P = c c^T / c^T c,
            sim(h, c) = cos(h, tanh(P h)); open where sim is above (or below) a threshold
    probe   a logistic probe p(unsafe | h) at a layer; open where p reaches a threshold

h is the activation at the last prompt token of the prompt as it is shown, without edits. Layer,
threshold and side are those with the best F1 of unsafe against safe on the validation pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from calib.config.method import Steer
from calib.data.example import Example
from calib.engine.edits import Edits
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Rule
from calib.util.errors import CalibError

Scores = Callable[[Sequence[Example]], torch.Tensor]
"""A number for each example. # [examples] float32"""


@dataclass(frozen=True)
class Gate:
    """Opens for an example whose score lies on the right side of a threshold."""

    scores: Scores
    threshold: float
    above: bool
    note: str
    """Where it was put and how well it tells unsafe from safe on validation."""

    def open(self, examples: Sequence[Example]) -> list[bool]:
        """Whether each example passes."""
        scores = self.scores(examples).double()  # float32 would round the threshold
        return ((scores >= self.threshold) == self.above).tolist()

    def rule(self, edits: Edits, otherwise: Edits = ()) -> Rule:
        """These edits for examples that pass, others for the rest."""
        return lambda examples: [edits if opened else otherwise for opened in self.open(examples)]


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it achieves."""

    threshold: float
    above: bool
    f1: float
    unsafe_open: float
    safe_open: float


def best_threshold(
    scores: torch.Tensor, unsafe: torch.Tensor, both_sides: bool = True, given: float | None = None
) -> Threshold:
    """The threshold with the best F1 for the unsafe class. # [examples] float, [examples] bool

    Tried are those halfway between neighbouring scores, and the lowest score, which opens for all.
    Of equally good ones the one with the most room around it is taken. ``given`` fixes the
    threshold.
    """
    values, truth = scores.double().numpy(), unsafe.numpy()
    known = np.unique(values)
    tried = np.r_[known[0], (known[1:] + known[:-1]) / 2] if given is None else np.array([given])
    room = np.r_[0.0, np.diff(known)] if given is None else np.zeros(1)
    best: Threshold | None = None
    for above in (True, False) if both_sides else (True,):
        opened = (values[None] >= tried[:, None]) == above  # [thresholds, examples]
        hits = (opened & truth).sum(1)
        f1 = 2 * hits / np.maximum(opened.sum(1) + truth.sum(), 1)
        if best is not None and f1.max() <= best.f1:
            continue
        at = int(np.lexsort((room, f1))[-1])
        best = Threshold(
            float(tried[at]), above, float(f1[at]),
            float(opened[at][truth].mean()), float(opened[at][~truth].mean()),
        )  # fmt: skip
    assert best is not None
    return best


def fit_gate(fitting: Fitting, config: Steer) -> Gate | None:
    """The gate that a configuration asks for, put where it tells unsafe from safe best."""
    if config.gate == "none":
        return None
    candidates = [
        (f"layer {layer}", GATES[config.gate](fitting, layer, config.read_positions))
        for layer in fitting.layers(config.gate_layers)
    ]
    name = f"{config.name}: the {config.gate} gate"
    return select_gate(fitting, name, candidates, config.threshold, config.gate == "cosine")


def select_gate(
    fitting: Fitting,
    name: str,
    candidates: Sequence[tuple[str, Scores]],
    threshold: float | None = None,
    both_sides: bool = False,
) -> Gate:
    """The candidate (a place and its scores) with the best F1 on the validation pairs.

    ``both_sides`` also tries gates that open below their threshold.

    Raises CalibError when there are no such pairs.
    """
    validated = fitting.sides("safety", "validation")
    asked = [*validated.positive, *validated.negative]
    if not asked:
        raise CalibError(
            f"{name} is put where it tells unsafe from safe queries best on the validation split, "
            "which has no pairs. Raise data.limit, or choose more data.parts."
        )
    unsafe = torch.tensor([example.safety == "unsafe" for example in asked])
    found = [
        (best_threshold(scores(asked), unsafe, both_sides, threshold), place, scores)
        for place, scores in candidates
    ]
    split, place, scores = max(found, key=lambda one: one[0].f1)
    side = "at or above" if split.above else "below"
    note = (
        f"{name} opens {side} {split.threshold:.3f} at {place}; on validation F1 {split.f1:.2f}, "
        f"open for {100 * split.unsafe_open:.0f}% of unsafe and {100 * split.safe_open:.0f}% of "
        f"safe queries (n = {len(asked)})"
    )
    return Gate(scores, split.threshold, split.above, note)


def _cosine(fitting: Fitting, layer: int, positions: str) -> Scores:
    condition = fitting.direction("safety", "pca", positions).vectors[layer]  # [width]

    def scores(examples: Sequence[Example]) -> torch.Tensor:
        hidden = fitting.activations(examples, [layer], positions)[:, 0]  # [examples, width]
        projected = (hidden @ condition)[:, None] * condition
        return torch.cosine_similarity(hidden, torch.tanh(projected), dim=-1)

    return scores


def _probe(fitting: Fitting, layer: int, positions: str) -> Scores:
    train = fitting.samples("safety", "train", positions, layers=[layer])
    both = torch.cat([train.positive, train.negative])[:, 0]  # [examples, width]
    scale = both.square().mean().sqrt()  # so that regularisation does not depend on the model
    labels = [True] * len(train.positive) + [False] * len(train.negative)
    probe = LogisticRegression(max_iter=1000).fit((both / scale).double().numpy(), labels)

    def scores(examples: Sequence[Example]) -> torch.Tensor:
        hidden = fitting.activations(examples, [layer], positions)[:, 0] / scale
        return torch.from_numpy(probe.predict_proba(hidden.double().numpy())[:, 1]).float()

    return scores


GATES = {"cosine": _cosine, "probe": _probe}
