"""Count the rows of a sweep from its settings, before a method is fitted.

Counts are upper limits: a direction may be missing at a layer, a budget of KL may leave no strength
of one sign, and a run may select the uncalibrated model, whose curve has no other strengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from calib.config.choices import Positions, Split
from calib.config.method import (
    Ablation,
    Activation,
    Captioned,
    Combine,
    Modality,
    Revision,
    Sampled,
    Subspace,
)
from calib.config.prompts import Calibration, FewShot, MethodConfig, PromptFlowMethod, Prompting
from calib.config.steering import Adaptive, Directed, Nullspace, Scans, Steer, TwoSided
from calib.config.sweep import SweepConfig
from calib.data.example import Example
from calib.data.splits import select_for_sra
from calib.engine.edits import reach
from calib.interventions.contrasts import BEHAVIOUR_CONTRASTS, twins
from calib.interventions.grid import LayerGrid, resolve_layers
from calib.models.load import VLM, AnyModel
from calib.runs.preflight import methods_of

READING = (Adaptive, Nullspace, Scans, TwoSided, Captioned, Modality, Subspace)
"""Methods that read activations of every prompt before they edit it."""


@dataclass(frozen=True)
class Grid:
    """The settings of one method, and the work that they are for each example."""

    method: str
    settings: int
    """Settings that are compared on validation."""
    tested: int
    """Settings that are run on test."""
    prompt_reads: float
    """Prompts that a setting reads beyond the unedited one, as a share of the layers: 1 for another
    prompt, 0 for edits of the last token on."""
    prompts_once: int = 0
    """Prompts that the method reads once for all of its settings."""
    steps: bool = False
    """Whether a response may take several steps, each of which is a further row."""


@dataclass(frozen=True)
class SplitCount:
    """The rows of one split; ``split`` is train for answers that methods are fitted on."""

    split: Split
    examples: Sequence[Example]
    settings: int
    prompt_reads: float
    """Complete passes of a prompt through the model, for one example under all settings."""

    @property
    def rows(self) -> int:
        return len(self.examples) * self.settings


def grids(config: SweepConfig, model: AnyModel) -> list[Grid]:
    """The settings of each method of the run, without the uncalibrated model."""
    return [_grid(method, model) for method in methods_of(config)]


def split_counts(
    config: SweepConfig, grids: Sequence[Grid], benchmark: Sequence[Example],
    utility: Sequence[Example],
) -> list[SplitCount]:  # fmt: skip
    """The rows of every split that has some: train, validation, test."""
    questions = [example for example in utility if example.dataset == "utility"]
    validation = [e for e in [*select_for_sra(benchmark), *questions] if e.split == "validation"]
    test = [e for e in [*benchmark, *utility] if e.split == "test"]
    once = sum(grid.prompts_once for grid in grids)
    answered = twins(benchmark, "train") if any(map(_needs_answers, methods_of(config))) else []
    counts = [
        SplitCount("train", answered, 1, 1.0),
        SplitCount(
            "validation",
            validation,
            1 + sum(grid.settings for grid in grids),
            1 + once + sum(grid.settings * grid.prompt_reads for grid in grids),
        ),
        SplitCount(
            "test",
            test,
            1 + sum(grid.tested for grid in grids),
            1 + once + sum(grid.tested * grid.prompt_reads for grid in grids),
        ),
    ]
    return [count for count in counts if count.examples]


def fitting_reads(config: SweepConfig, benchmark: Sequence[Example]) -> int:
    """Prompts that are read to fit the methods: those of train and validation pairs, once."""
    if not any(isinstance(method, Activation | Combine) for method in methods_of(config)):
        return 0
    return len(twins(benchmark, "train")) + len(twins(benchmark, "validation"))


def _grid(method: MethodConfig, model: AnyModel) -> Grid:
    if isinstance(method, Combine):
        edited = _grid(method.activation, model)
        # Another prompt for each setting's rows, which share it unless the edits differ within.
        return Grid(method.name, edited.settings, edited.tested, max(edited.prompt_reads, 0.5))
    assert isinstance(method, Calibration)
    strengths = len(set(method.strengths) - {0.0})
    if isinstance(method, Prompting):
        several = strengths > 1 and (not isinstance(method, FewShot) or max(method.strengths) > 100)
        steps = isinstance(method, PromptFlowMethod)
        return Grid(
            method.name, strengths, min(2, strengths) if several else strengths, 1.0, 0, steps
        )
    assert isinstance(method, Activation) and isinstance(model, VLM)
    layers, edited_from = _layers(method, model)
    if method.kl is not None:
        strengths = min(strengths, 2)
    if method.layers == "auto":
        layers = 1
    before_last = reach(cast(Positions, method.positions))[0]
    reads = 1 - edited_from / model.num_layers if before_last else 0.0
    gated = isinstance(method, Steer) and method.gate != "none"
    once = int(gated or isinstance(method, READING))
    return Grid(method.name, layers * strengths, strengths, reads, once)


def _layers(method: Activation, vlm: VLM) -> tuple[int, float]:
    """The number of layers of a method's grid, and the mean of the first layer that is edited."""
    site = getattr(method, "site", "residual")
    if isinstance(method, Revision) and (method.file or method.name) == "iar_head":
        return 1, float(resolve_layers(vlm, method.layers, "heads")[0])
    band = resolve_layers(vlm, method.layers, site)
    if isinstance(method, Ablation):
        first = resolve_layers(vlm, method.edited_layers)[0]
        return (1 if method.selection == "published" else len(band)), float(first)
    grid = LayerGrid.of(band, method.all_layers_at_once, method.first_layers)
    firsts = [grid.edited(layer)[0] for layer in grid.layers]
    return len(grid.layers), sum(firsts) / len(firsts)


def _needs_answers(method: MethodConfig) -> bool:
    """Whether a method is fitted on responses of the uncalibrated model to train examples."""
    if isinstance(method, Combine):
        return _needs_answers(method.prompt) or _needs_answers(method.activation)
    if isinstance(method, Steer) and method.direction is not None:
        return False
    answered = {*BEHAVIOUR_CONTRASTS, "completion", "responses"}
    if isinstance(method, Directed) and method.contrast in answered:
        return True
    return isinstance(method, FewShot) or (
        isinstance(method, Sampled) and method.samples == "responses"
    )
