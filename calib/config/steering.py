"""Settings of the methods that steer along directions, with or without a gate.

A method combines a few axes: site, layers and positions; the operator; the direction (contrast and
estimator); the strength, or a KL budget; and the gate, which decides per prompt.
"""

from dataclasses import dataclass, field
from typing import Any

from calib.config.checks import (
    at_least_one,
    between,
    finite,
    layers,
    one_of,
    path,
    positive,
    read_positions,
)
from calib.config.choices import (
    CLOSED_GATE_ACTIONS,
    CONTRASTS,
    EDITED_SIDES,
    ESTIMATORS,
    GATE_CRITERIA,
    GATE_SIDES,
    GATES,
    HARM_DIRECTIONS,
    LAYER_BANDS,
    OPERATORS,
    POSITIONS,
    PROBE_PROMPTS,
    SITES,
)
from calib.config.prompts import Calibration
from calib.util.errors import CalibError


@dataclass
class Activation(Calibration):
    """Methods that edit activations."""

    layers: Any = "all"
    """Decoder blocks, counted from 0: all, a band (lower, middle, upper), a number, a list of
    numbers, or auto: the layer with the largest effect at the KL budget (0.1 if kl is null)."""
    all_layers_at_once: bool = False
    """Edit all these layers together, instead of trying each layer on its own."""
    first_layers: Any = None
    """Grid of layers for all_layers_at_once: a setting edits the layers from one of these on. all
    tries every one of method.layers, a list some of them; null edits all layers in every
    setting."""
    positions: str = "last_prompt"
    """Tokens to edit. response: the last prompt token and all response tokens, which are the tokens
    that response tokens are sampled from; last_prompt: the last prompt token only;
    after_instruction: from the last token of the user's query on; all, prompt, image, text."""
    read_positions: str = "last_prompt"
    """Tokens to read directions from. last_prompt; last_prompt-1, -2, ...: one token of the chat
    template before it; instruction_end: the last token of the user's query; response: the mean over
    response tokens, for contrast=responses; prompt, image, text: means over these tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.positions", self.positions, POSITIONS)
        read_positions("method.read_positions", self.read_positions)
        layers("method.layers", self.layers, (*LAYER_BANDS, "auto"))
        if self.first_layers is not None:
            layers("method.first_layers", self.first_layers, ("all",))
            if not self.all_layers_at_once:
                raise CalibError(
                    "conflicting-settings",
                    f"method.first_layers={self.first_layers} is for methods that edit several "
                    "layers at once. Give method.all_layers_at_once=true, or choose single layers "
                    "with method.layers.",
                )
        if self.all_layers_at_once and self.layers == "auto":
            raise CalibError(
                "conflicting-settings",
                "method.layers=auto selects one layer, but method.all_layers_at_once edits "
                "several. Give a band or a list, or method.all_layers_at_once=false.",
            )


@dataclass
class Directed(Activation):
    """Methods that edit along one direction per layer."""

    contrast: str = "safety"
    """Two classes of activations, whose difference is the direction. safety: unsafe minus safe
    examples; refusal: refused minus answered examples (harmful_refusal: unsafe ones only;
    false_refusal: safe ones only; true_refusal: refused unsafe minus answered safe); completion:
    refusals minus safe completions; responses: refusals minus answers to the same unsafe queries;
    modality: with minus without the picture."""
    estimator: str = "mean_difference"
    """Estimator of the direction: mean_difference | paired_mean_difference | pca | logistic_probe |
    lda | multi_response_means."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.contrast", self.contrast, CONTRASTS)
        one_of("method.estimator", self.estimator, ESTIMATORS)


@dataclass
class Steer(Directed):
    """Steering with every axis free."""

    name: str = "steer"
    strengths: list[float] = field(default_factory=lambda: [-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])
    """Strengths in gaps: 1.0 moves an activation by the distance between the two class means; 0
    changes nothing."""
    positions: str = "response"
    site: str = "residual"
    """Activations to edit. residual: a block's output; heads: its attention heads; mlp: its MLP's
    output."""
    operator: str = "add"
    """Operator: add | add_keeping_norm | add_by_norm | add_by_norm_keeping_norm | ablate | linear |
    clamp."""
    direction: str | None = None
    """Direction file to use, instead of fitting a direction."""
    gate: str = "none"
    """none: edit every prompt; cosine, probe: edit the prompts that this condition finds unsafe."""
    otherwise: str = "nothing"
    """Edit where the gate stays closed: nothing, or opposite (the negated strength)."""
    opposite_ratio: float = 1.0
    """Strength behind a closed gate with otherwise=opposite, as a multiple of the strength."""
    gate_layers: Any = "all"
    """Layers from which the gate's layer is selected on validation."""
    gate_positions: str = "last_prompt"
    """Prompt tokens that the gate reads, as in read_positions; several are averaged."""
    threshold: float | None = None
    """Score at which the gate opens or closes; null selects it on validation."""
    gate_side: str = "auto"
    """Side of the threshold on which the gate opens: above, below, or auto, which selects it on
    validation."""
    gate_criterion: str = "f1"
    """Measure by which layer, threshold and side are selected on validation. f1: F1 of the unsafe
    class; youden: share of unsafe minus share of safe queries for which the gate opens."""
    top_channels: int | None = None
    """Number of channels of the direction to keep, those with the largest values; null, or a number
    above the width, keeps all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_gate(self)
        positive("method.opposite_ratio", self.opposite_ratio)
        at_least_one("method.top_channels", self.top_channels)
        one_of("method.site", self.site, SITES)
        one_of("method.operator", self.operator, OPERATORS)
        one_of("method.gate", self.gate, GATES)
        one_of("method.otherwise", self.otherwise, CLOSED_GATE_ACTIONS)
        path("method.direction", self.direction)
        if self.direction is not None and self.site != "residual":
            raise CalibError(
                "conflicting-settings",
                f"method.site={self.site} with method.direction: the direction file names its "
                "site. Omit method.site.",
            )
        if self.direction is not None and self.top_channels is not None:
            raise CalibError(
                "conflicting-settings",
                f"method.top_channels={self.top_channels} is for directions that the run fits, and "
                "method.direction is a file. Omit one of them.",
            )


def _check_gate(config: "Steer | Scans") -> None:
    layers("method.gate_layers", config.gate_layers, LAYER_BANDS)
    if config.threshold is not None:
        finite("method.threshold", [config.threshold])
    one_of("method.gate_side", config.gate_side, GATE_SIDES)
    one_of("method.gate_criterion", config.gate_criterion, GATE_CRITERIA)
    if isinstance(config, Steer):
        read_positions("method.gate_positions", config.gate_positions)


@dataclass
class Scans(Directed):
    continuation: str | None = None
    """Word with which a willing response begins, appended to the prompt to read the transition of
    activations towards a response; null means the one in texts."""
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Default texts by checkpoint; "any" is for all others."""
    transition_from: str = "last_prompt"
    """Token from which the transition starts, as in read_positions: last_prompt, or instruction_end
    for templates with several tokens after the query."""
    gate_layers: Any = "upper"
    """Layers whose transitions are averaged for the gate."""
    threshold: float | None = None
    """Cosine with the unsafe transition at which a query counts as unsafe; null selects it on
    validation."""
    gate_side: str = "above"
    """Side of the threshold on which a query counts as unsafe: above, below, or auto, which selects
    it on validation."""
    gate_criterion: str = "f1"
    """Measure by which the threshold is selected on validation. f1: F1 of the unsafe class; youden:
    share of unsafe minus share of safe queries for which the gate opens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_gate(self)
        read_positions("method.transition_from", self.transition_from)


@dataclass
class TwoSided(Directed):
    operator: str = "clamp"
    """Operator along the refusal direction: add | add_keeping_norm | add_by_norm |
    add_by_norm_keeping_norm | ablate | linear | clamp. clamp keeps the projection beyond strength
    gaps from between the classes, and leaves alone what is there already."""
    opposite_ratio: float = 0.5
    """Strength for queries that the probe finds safe, as a multiple of the strength."""
    sides: str = "both"
    """Queries to edit: unsafe, safe or both, by the probe."""
    completion: float = 0.5
    """Where the projection of an unsafe query between safe completions and refusals is kept, in
    gaps towards safe completions from between both; 0 does without this edit."""
    probe_prompt: str = "both"
    """Prompts whose ends the probe reads. check: a yes-or-no question about the query; query: the
    query itself, which costs no further prompt; both."""
    check: str | None = None
    """Yes-or-no question about the query, which may contain {query}; null means the one in
    texts."""
    request_check: str | None = None
    """Question about a query of the mini world that has its request in words, with {query} and
    {request}; null means the one in texts. Empty, or null with a check of your own: the check."""
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Default texts by checkpoint; "any" is for all others."""
    gate_layers: Any = "all"
    """Layers from which the probe's layer is selected on validation."""
    precision: float = 0.8
    """Share of validation queries that must be unsafe above the upper threshold, and safe below the
    lower one; queries in between are not edited."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.operator", self.operator, OPERATORS)
        one_of("method.sides", self.sides, EDITED_SIDES)
        one_of("method.probe_prompt", self.probe_prompt, PROBE_PROMPTS)
        positive("method.opposite_ratio", self.opposite_ratio)
        between("method.completion", self.completion, 0.0, 2.0)
        between("method.precision", self.precision, 0.0, 1.0)
        layers("method.gate_layers", self.gate_layers, LAYER_BANDS)


@dataclass
class Adaptive(Activation):
    coefficient_layer: Any = "auto"
    """Layer whose projections set the coefficients: one layer, a list [refusal's, harm's], or auto:
    for each direction the layer with its best AUROC."""
    harm_direction: str = "projected"
    """Harm direction to add. projected: its component along the refusal direction; orthogonal: what
    is left without that component."""
    refusal_slope: float = -2.0
    """Gaps of the refusal direction to add per gap of projection on it."""
    refusal_offset: float = 0.0
    """Projection at which nothing is added of the refusal direction, in gaps from between the class
    means."""
    refusal_limits: list[float] = field(default_factory=lambda: [-2.0, 2.0])
    """Smallest and largest amount of the refusal direction, in gaps at strength 1."""
    harm_slope: float = 2.0
    """Multiples of the harm direction to add per gap of projection on it."""
    harm_offset: float = 0.0
    """Projection at which nothing is added of the harm direction, in gaps from between the class
    means."""
    harm_limits: list[float] = field(default_factory=lambda: [-2.0, 2.0])
    """Smallest and largest multiple of the harm direction at strength 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        layers("method.coefficient_layer", self.coefficient_layer, ("auto",))
        if isinstance(self.coefficient_layer, list) and len(self.coefficient_layer) != 2:
            raise CalibError(
                "invalid-setting",
                f"method.coefficient_layer: {self.coefficient_layer} is not [refusal's, harm's]. "
                "Give one layer, two layers, or auto.",
            )
        one_of("method.harm_direction", self.harm_direction, HARM_DIRECTIONS)
        for key in ("refusal_slope", "refusal_offset", "harm_slope", "harm_offset"):
            finite(f"method.{key}", [getattr(self, key)])
        for key in ("refusal_limits", "harm_limits"):
            limits = getattr(self, key)
            finite(f"method.{key}", limits)
            if len(limits) != 2 or limits[0] > limits[1]:
                raise CalibError(
                    "invalid-setting", f"method.{key}: {limits} is not [smallest, largest]."
                )


@dataclass
class Nullspace(Directed):
    benign: str = "varied"
    """Benign prompts that the edit leaves unchanged. varied: the safe train examples and the
    utility questions of the train split; twins: the safe train twins; or the path of a table (.csv,
    .jsonl ...) with a column query, which is used besides the safe train examples."""
    null_share: float = 0.6
    """Share of the directions that may be edited: those in which safe activations vary least."""
    ridge: float = 10.0
    """Penalty of the ridge regression."""

    def __post_init__(self) -> None:
        super().__post_init__()
        path("method.benign", self.benign)
        between("method.null_share", self.null_share, 0.0, 1.0)
        positive("method.ridge", self.ridge)
