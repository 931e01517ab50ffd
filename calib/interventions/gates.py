"""Gates: decide from an example's prompt, before generation, whether its activations are edited.

    cosine  CAST (arXiv 2409.05907, section 3.2). With c the condition direction of a layer (the
            first principal component of the unsafe-safe differences, [width]) and
            P = c c^T / c^T c: sim(h, c) = cos(h, tanh(P h)). Open where sim is at or above (or
            below) a threshold.
    probe   A logistic probe p(unsafe | h) at one layer. Open where p reaches a threshold.

h is the unedited activation at the last token of the prompt that the model sees. Layer, threshold
and side are those with the best F1 for unsafe against safe queries on the validation pairs.
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
"""Computes one score per example. # [examples] float32"""


@dataclass(frozen=True)
class Gate:
    """Opens for an example whose score lies on one side of a threshold."""

    scores: Scores
    threshold: float
    above: bool
    """Whether the gate opens at or above the threshold, rather than below it."""
    note: str
    """Layer and threshold, and how well the gate separates unsafe from safe on validation."""

    def open(self, examples: Sequence[Example]) -> list[bool]:
        """Whether the gate opens for each example."""
        scores = self.scores(examples).double()  # float32 would round the threshold
        return ((scores >= self.threshold) == self.above).tolist()

    def rule(self, edits: Edits, otherwise: Edits = ()) -> Rule:
        """A rule with ``edits`` where the gate opens and ``otherwise`` where it stays closed."""
        return lambda examples: [edits if is_open else otherwise for is_open in self.open(examples)]


@dataclass(frozen=True)
class Threshold:
    """A threshold, and how well it separates unsafe from safe examples."""

    threshold: float
    above: bool
    f1: float
    unsafe_open: float
    """Share of the unsafe examples for which the gate opens."""
    safe_open: float
    """Share of the safe examples for which the gate opens."""


def best_threshold(
    scores: torch.Tensor, unsafe: torch.Tensor, both_sides: bool = True, given: float | None = None
) -> Threshold:
    """The threshold with the best F1 for the unsafe class. # [examples] float, [examples] bool

    Candidates are the midpoints between neighbouring scores, and the lowest score, at which the
    gate opens for all. Among candidates with equal F1 the one farthest from its neighbouring scores
    wins. ``given`` fixes the threshold; ``both_sides`` also tries gates that open below it.
    """
    values, truth = scores.double().numpy(), unsafe.numpy()
    distinct = np.unique(values)
    if given is None:
        candidates = np.r_[distinct[0], (distinct[1:] + distinct[:-1]) / 2]
        room = np.r_[0.0, np.diff(distinct)]
    else:
        candidates, room = np.array([given]), np.zeros(1)
    best: Threshold | None = None
    for above in (True, False) if both_sides else (True,):
        opened = (values[None] >= candidates[:, None]) == above  # [thresholds, examples]
        hits = (opened & truth).sum(1)
        f1 = 2 * hits / np.maximum(opened.sum(1) + truth.sum(), 1)
        if best is not None and f1.max() <= best.f1:
            continue
        k = int(np.lexsort((room, f1))[-1])
        best = Threshold(
            float(candidates[k]),
            above,
            float(f1[k]),
            float(opened[k][truth].mean()),
            float(opened[k][~truth].mean()),
        )
    assert best is not None
    return best


def fit_gate(fitting: Fitting, config: Steer) -> Gate | None:
    """The gate of a configuration, at its best layer; None without a gate."""
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
    """The candidate with the best F1 on the validation pairs.

    A candidate is a description of where its scores are computed ("layer 3") and the scores.
    ``both_sides`` also tries gates that open below their threshold.

    Raises CalibError (too-few) if there are no validation pairs.
    """
    sides = fitting.sides("safety", "validation")
    examples = [*sides.positive, *sides.negative]
    if not examples:
        raise CalibError(
            "too-few",
            f"{name} is fitted to safe/unsafe pairs of the validation split, which has none. Raise "
            "data.limit, or choose more data.parts.",
        )
    unsafe = torch.tensor([example.safety == "unsafe" for example in examples])
    fitted = [
        (best_threshold(scores(examples), unsafe, both_sides, threshold), description, scores)
        for description, scores in candidates
    ]
    best, description, scores = max(fitted, key=lambda candidate: candidate[0].f1)
    side = "at or above" if best.above else "below"
    note = (
        f"{name} opens {side} {best.threshold:.3f} at {description}; on validation F1 "
        f"{best.f1:.2f}, open for {100 * best.unsafe_open:.0f}% of unsafe and "
        f"{100 * best.safe_open:.0f}% of safe queries (n = {len(examples)})"
    )
    return Gate(scores, best.threshold, best.above, note)


def _cosine(fitting: Fitting, layer: int, positions: str) -> Scores:
    condition = fitting.direction("safety", "pca", positions).vectors[layer]  # [width]

    def scores(examples: Sequence[Example]) -> torch.Tensor:
        hidden = fitting.activations(examples, [layer], positions)[:, 0]  # [examples, width]
        projected = (hidden @ condition)[:, None] * condition
        return torch.cosine_similarity(hidden, torch.tanh(projected), dim=-1)

    return scores


def _probe(fitting: Fitting, layer: int, positions: str) -> Scores:
    train = fitting.samples("safety", "train", positions, layers=[layer])
    activations = torch.cat([train.positive, train.negative])[:, 0]  # [examples, width]
    # The same regularisation then suits models with activations of any size.
    scale = activations.square().mean().sqrt()
    labels = [True] * len(train.positive) + [False] * len(train.negative)
    probe = LogisticRegression(max_iter=1000).fit((activations / scale).double().numpy(), labels)

    def scores(examples: Sequence[Example]) -> torch.Tensor:
        hidden = fitting.activations(examples, [layer], positions)[:, 0] / scale
        return torch.from_numpy(probe.predict_proba(hidden.double().numpy())[:, 1]).float()

    return scores


GATES = {"cosine": _cosine, "probe": _probe}
