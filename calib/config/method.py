"""Settings of the methods that edit activations, and the schemas of all methods.

A method combines a few axes: site, layers and positions; the operator; the direction (contrast and
estimator); the strength, or a KL budget; and the gate, which decides per prompt. There is one
dataclass per kind; a method with more settings extends it.
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
    COMPARISON_PICTURES,
    CONTRASTS,
    ESTIMATORS,
    GATES,
    LAYER_BANDS,
    OPERATORS,
    POSITIONS,
    PROBE_DIRECTIONS,
    SAMPLE_CONTRASTS,
    SITES,
)
from calib.config.prompts import (
    Calibration,
    FewShot,
    MethodConfig,
    NoneMethod,
    PromptFlowMethod,
    Prompting,
    Worded,
)
from calib.util.errors import CalibError


@dataclass(frozen=True)
class SettingKey:
    """A method at one layer and strength: what rows, labels, results and points belong to.

    The uncalibrated model is the method "none" at strength 0.
    """

    method: str
    layer: int | None
    """0-based decoder block; None if the method has no single layer."""
    strength: float

    @property
    def key(self) -> "SettingKey":
        """The setting alone, to compare and look up things that belong to settings."""
        return SettingKey(self.method, self.layer, self.strength)


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
    false_refusal: safe ones only; true_refusal: refused unsafe minus answered safe); responses:
    refusals minus answers to the same unsafe queries; modality: with minus without the picture."""
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
    strengths: list[float] = field(
        default_factory=lambda: [-6.0, -4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0, 6.0]
    )
    """Strengths in gaps: 1.0 moves an activation by the distance between the two class means; 0
    changes nothing."""
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
    gate_layers: Any = "all"
    """Layers from which the gate's layer is selected on validation."""
    threshold: float | None = None
    """Score from which the gate opens; null selects it on validation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.site", self.site, SITES)
        one_of("method.operator", self.operator, OPERATORS)
        one_of("method.gate", self.gate, GATES)
        one_of("method.otherwise", self.otherwise, CLOSED_GATE_ACTIONS)
        layers("method.gate_layers", self.gate_layers, LAYER_BANDS)
        path("method.direction", self.direction)
        if self.direction is not None and self.site != "residual":
            raise CalibError(
                "conflicting-settings",
                f"method.site={self.site} with method.direction: the direction file names its "
                "site. Omit method.site.",
            )


@dataclass
class Ablation(Directed):
    """Methods that ablate a direction, fitted at one layer, from several layers."""

    edited_layers: Any = "all"
    """Decoder blocks to edit, whichever layer the direction comes from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        layers("method.edited_layers", self.edited_layers, LAYER_BANDS)
        if self.all_layers_at_once:
            raise CalibError(
                "conflicting-settings",
                f"method.all_layers_at_once: {self.name} takes its direction from one layer at a "
                "time and edits method.edited_layers. Omit method.all_layers_at_once.",
            )


@dataclass
class Surgical(Ablation):
    orthogonalisation: float = 1.0
    """Share of the refusal direction to remove from the false-refusal vector."""
    refusal_strength: float = 0.0
    """Refusal direction to add at its source layer besides the ablation, in gaps."""


@dataclass
class Scans(Directed):
    continuation: str = " Sure"
    """Text appended to the prompt, to read the transition of activations towards a response."""
    gate_layers: Any = "upper"
    """Layers whose transitions are averaged for the gate."""
    threshold: float | None = None
    """Cosine with the unsafe transition from which a query counts as unsafe; null selects it on
    validation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        layers("method.gate_layers", self.gate_layers, LAYER_BANDS)


@dataclass
class Adaptive(Activation):
    coefficient_layer: Any = "auto"
    """Layer whose projections set the strength; auto means the layer with the best AUROC."""
    refusal_slope: float = -2.0
    """Gaps of the refusal direction to add per gap of projection on it."""
    refusal_limits: list[float] = field(default_factory=lambda: [-2.0, 2.0])
    """Smallest and largest amount of the refusal direction, in gaps at strength 1."""
    harm_slope: float = 2.0
    """Gaps of the harm direction to add per gap of projection on it."""
    harm_limits: list[float] = field(default_factory=lambda: [-2.0, 2.0])
    """Smallest and largest amount of the harm direction, in gaps at strength 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        layers("method.coefficient_layer", self.coefficient_layer, ("auto",))
        if isinstance(self.coefficient_layer, list):
            raise CalibError(
                "invalid-setting",
                f"method.coefficient_layer: {self.coefficient_layer} is a list. Give one layer, or "
                "auto.",
            )
        finite("method.refusal_slope, harm_slope", [self.refusal_slope, self.harm_slope])
        for key in ("refusal_limits", "harm_limits"):
            limits = getattr(self, key)
            finite(f"method.{key}", limits)
            if len(limits) != 2 or limits[0] > limits[1]:
                raise CalibError(
                    "invalid-setting", f"method.{key}: {limits} is not [smallest, largest]."
                )


@dataclass
class Astra(Directed):
    """Methods that compare an activation with that of answers about harmless pictures."""

    question: str | None = None
    """Question about the pictures of safe examples, whose answers give the reference activation;
    null means the one in texts."""
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Default texts by checkpoint; "any" is for all others."""


@dataclass
class Nullspace(Directed):
    null_share: float = 0.6
    """Share of the directions that may be edited: those in which safe activations vary least."""
    ridge: float = 10.0
    """Penalty of the ridge regression."""

    def __post_init__(self) -> None:
        super().__post_init__()
        between("method.null_share", self.null_share, 0.0, 1.0)
        positive("method.ridge", self.ridge)


@dataclass
class Sampled(Activation):
    """Methods that are fitted to contrastive samples."""

    samples: str = "responses"
    """Contrastive samples: responses (refusals and answers to one query), safety (unsafe and safe
    queries), modality (with and without the picture)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.samples", self.samples, SAMPLE_CONTRASTS)


@dataclass
class Revision(Sampled):
    """Internal Activation Revision."""

    extractor: str = "mean_shift"
    """Source of the direction. mean_shift: mass-mean shift; probe_weight: weights of a logistic
    probe."""
    heads: int | None = None
    """Number of attention heads to edit, those with the best probes (iar_head). null means 48, or
    4.7 % of the heads of method.layers where these are fewer than 1024: the share of
    inference-time intervention, 48 of 1024."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.extractor", self.extractor, PROBE_DIRECTIONS)
        if self.heads is not None:
            at_least_one("method.heads", self.heads)


@dataclass
class Captioned(Activation):
    """Methods that compare a picture with its caption."""

    captions: str | None = None
    """CSV or JSONL file with columns id and caption; null has the model write the captions."""
    question: str | None = None
    """Wording of the request for a caption, where {query} is the example's query; null means the
    one in texts."""
    captioned: str | None = None
    """Wording of a query whose picture is replaced by its caption, with {query} and {caption}; null
    means the one in texts."""
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Default texts by checkpoint; "any" is for all others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        path("method.captions", self.captions)


@dataclass
class Modality(Activation):
    """Methods that remove the shift that a picture causes in activations."""

    picture: str = "blank"
    """Picture for measuring that shift: blank, noise, or own (the example's)."""
    per_example: bool = False
    """Measure the shift for each example, instead of its mean over the train pairs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.picture", self.picture, COMPARISON_PICTURES)


@dataclass
class Subspace(Activation):
    rank: int = 3
    """Number of directions that span the safety subspace."""
    text_only: bool = True
    """Read the safety subspace from queries without their pictures, of the pairs whose queries
    differ. Where all pairs have equal queries, and differ in their pictures only, the pictures are
    shown whatever this setting."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one("method.rank", self.rank)


@dataclass
class Combine(MethodConfig):
    prompt: MethodConfig = field(default_factory=lambda: MethodConfig("reminder"))
    """Method that changes the prompt, at its first strength."""
    activation: MethodConfig = field(default_factory=lambda: MethodConfig("steer"))
    """Method that edits activations, which sets the layers and the strengths."""


METHODS: dict[str, type[MethodConfig]] = {
    "none": NoneMethod,
    "activation": Activation,
    "directed": Directed,
    "steer": Steer,
    "ablation": Ablation,
    "surgical": Surgical,
    "scans": Scans,
    "astra": Astra,
    "adaptive": Adaptive,
    "nullspace": Nullspace,
    "sampled": Sampled,
    "revision": Revision,
    "captioned": Captioned,
    "modality": Modality,
    "subspace": Subspace,
    "prompting": Prompting,
    "worded": Worded,
    "few_shot": FewShot,
    "prompt_flow": PromptFlowMethod,
    "dialogue": PromptFlowMethod,  # former name, for options outside of this repository
    "combine": Combine,
}
"""Schemas of the methods, by the names under which the YAML files extend them."""
