"""Gates: decide from an example's prompt, before generation, whether its activations are edited.

    cosine  CAST (arXiv 2409.05907, section 3.2). With c the condition direction of a layer (the
            first principal component of the unsafe-safe differences, [width]) and
            P = c c^T / c^T c: sim(h, c) = cos(h, tanh(P h)).
    probe   A logistic probe p(unsafe | h) at one layer: a trained gate, from the labels of the
            train pairs.

h [width] is the unedited activation of the prompt that the model sees, averaged over the gate's
positions. Every gate is searched alike on the validation pairs: each layer, each threshold between
two neighbouring scores, and both sides of it unless the side is given. The best has the highest F1
for unsafe against safe queries, or the highest Youden index (share of unsafe queries for which the
gate opens minus that of safe queries).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from calib.config.steering import Scans, Steer
from calib.data.example import Example
from calib.engine.edits import Edits
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Rule
from calib.interventions.open_rates import open_rates_by_part
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
    trained: bool
    """Whether the scores come from a classifier that was trained on the labels of examples."""
    note: str = ""
    """Layer and threshold, and how well the gate separates unsafe from safe on validation, in total
    and by part."""

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

    def value(self, criterion: str) -> float:
        """The value by which thresholds are compared: f1, or youden."""
        return self.f1 if criterion == "f1" else self.unsafe_open - self.safe_open


@dataclass(frozen=True)
class Search:
    """The search for a gate's threshold on validation."""

    threshold: float | None = None
    """Threshold to use; None tries the midpoints between neighbouring scores."""
    side: str = "auto"
    """Side on which the gate opens: above, below, or auto to try both."""
    criterion: str = "f1"
    """f1 or youden."""

    @classmethod
    def of(cls, config: "Steer | Scans") -> "Search":
        """The search that a configuration describes."""
        return cls(config.threshold, config.gate_side, config.gate_criterion)


def best_threshold(
    scores: torch.Tensor, unsafe: torch.Tensor, search: Search = Search()
) -> Threshold:
    """The threshold that separates unsafe from safe examples best.

    # [examples] float, [examples] bool

    Candidates are the midpoints between neighbouring scores, and the lowest score, at which the
    gate opens for all. Among equally good candidates the one farthest from its neighbouring scores
    wins; between equally good sides, above.
    """
    values, truth = scores.double().numpy(), unsafe.numpy()
    distinct = np.unique(values)
    if search.threshold is None:
        candidates = np.r_[distinct[0], (distinct[1:] + distinct[:-1]) / 2]
        room = np.r_[0.0, np.diff(distinct)]
    else:
        candidates, room = np.array([search.threshold]), np.zeros(1)
    best: Threshold | None = None
    for above in _SIDES[search.side]:
        opened = (values[None] >= candidates[:, None]) == above  # [thresholds, examples]
        f1 = 2 * (opened & truth).sum(1) / np.maximum(opened.sum(1) + truth.sum(), 1)
        shares = [opened[:, group].mean(1) for group in (truth, ~truth)]  # [thresholds] each
        compared = f1 if search.criterion == "f1" else shares[0] - shares[1]
        k = int(np.lexsort((room, compared))[-1])
        found = Threshold(
            float(candidates[k]), above, float(f1[k]), float(shares[0][k]), float(shares[1][k])
        )
        if best is None or found.value(search.criterion) > best.value(search.criterion):
            best = found
    assert best is not None
    return best


_SIDES = {"auto": (True, False), "above": (True,), "below": (False,)}


def fit_gate(fitting: Fitting, config: Steer) -> Gate | None:
    """The gate of a configuration, at its best layer; None without a gate."""
    if config.gate == "none":
        return None
    candidates = [
        (f"layer {layer}", GATES[config.gate](fitting, layer, config.gate_positions))
        for layer in _layers(fitting, config)
    ]
    name = f"{config.name}: the {config.gate} gate"
    return select_gate(fitting, name, candidates, Search.of(config), config.gate in TRAINED)


def _layers(fitting: Fitting, config: Steer) -> list[int]:
    if config.gate != "cosine":
        return fitting.layers(config.gate_layers)
    condition = fitting.direction("safety", "pca", config.gate_positions)
    return fitting.layers_of(condition, config.gate_layers)


def select_gate(
    fitting: Fitting,
    name: str,
    candidates: Sequence[tuple[str, Scores]],
    search: Search,
    trained: bool,
) -> Gate:
    """The candidate that separates unsafe from safe validation examples best.

    A candidate is a description of where its scores are computed ("layer 3") and the scores.

    Raises CalibError (too-few) if there are no validation pairs.
    """
    sides = fitting.sides("safety", "validation")
    examples = [*sides.positive, *sides.negative]
    if not examples:
        raise CalibError(
            "too-few",
            f"{name} is fitted to safe/unsafe pairs of the validation split, which has none. "
            "Use more of the data, or data with twins.",
        )
    unsafe = torch.tensor([example.safety == "unsafe" for example in examples])
    fitted = [
        (best_threshold(scores(examples), unsafe, search), description, scores)
        for description, scores in candidates
    ]
    best, description, scores = max(
        fitted, key=lambda candidate: candidate[0].value(search.criterion)
    )
    side = "at or above" if best.above else "below"
    use = "trained on labels" if trained else "labels choose the threshold only"
    gate = Gate(scores, best.threshold, best.above, trained)
    note = (
        f"{name} ({use}) opens {side} {best.threshold:.3f} at {description}; on validation F1 "
        f"{best.f1:.2f}, open for {100 * best.unsafe_open:.0f}% of unsafe and "
        f"{100 * best.safe_open:.0f}% of safe queries (n = {len(examples)}, "
        f"{len({example.cluster for example in examples})} clusters)"
    )
    return replace(gate, note=note + open_rates_by_part(gate.open(examples), examples))


def _cosine(fitting: Fitting, layer: int, positions: str) -> Scores:
    direction = fitting.direction("safety", "pca", positions)
    condition = direction.vectors[direction.row(layer)]  # [width]

    def scores(examples: Sequence[Example]) -> torch.Tensor:
        hidden = fitting.activations(examples, [layer], positions)[:, 0]  # [examples, width]
        projected = (hidden @ condition)[:, None] * condition
        return torch.cosine_similarity(hidden, torch.tanh(projected), dim=-1)

    return scores


def _probe(fitting: Fitting, layer: int, positions: str) -> Scores:
    return probe_scores(
        fitting, lambda examples: fitting.activations(examples, [layer], positions)[:, 0]
    )


def probe_scores(
    fitting: Fitting,
    read: Callable[[Sequence[Example]], torch.Tensor],
    harmless: Sequence[Example] = (),
) -> Scores:
    """p(unsafe) by a logistic probe, fitted to the train pairs and to ``harmless`` examples.

    ``read`` gives the activations of examples. # [examples, width]
    """
    sides = fitting.sides("safety", "train")
    safe = [*sides.negative, *harmless]
    activations = read([*sides.positive, *safe])
    # The same regularisation then suits models with activations of any size.
    scale = activations.square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)
    labels = [True] * len(sides.positive) + [False] * len(safe)
    probe = LogisticRegression(max_iter=1000).fit((activations / scale).double().numpy(), labels)

    def scores(examples: Sequence[Example]) -> torch.Tensor:
        hidden = read(examples) / scale
        return torch.from_numpy(probe.predict_proba(hidden.double().numpy())[:, 1]).float()

    return scores


GATES = {"cosine": _cosine, "probe": _probe}
TRAINED = ("probe",)
"""Gates whose scores come from a classifier that is trained on labels."""
