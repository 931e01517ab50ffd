"""What can be configured about methods that edit activations: one dataclass per kind, extended
where a method has settings of its own. Nothing here imports torch.

A method is a short composition of axes: where (site, layers, positions), what (operator), along
which direction (contrast, estimator), how much (strengths, or a budget of KL), and when (gate).
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
)
from calib.config.choices import (
    CONTRASTS,
    ESTIMATORS,
    GATES,
    LAYER_BANDS,
    OPERATORS,
    POSITIONS,
    READ_POSITIONS,
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


@dataclass
class Activation(Calibration):
    """Methods that edit activations."""

    layers: Any = "all"
    """Decoder blocks, from 0: all, a band of the depth (lower, middle, upper), one number, a list
    of them, or auto: the one layer with the largest effect at the budget of KL (0.1 without)."""
    all_layers_at_once: bool = False
    """One edit of all these layers at once, instead of one setting for each of them."""
    positions: str = "last_prompt"
    """Tokens that are edited: all | prompt | image | text | last_prompt | response."""
    read_positions: str = "last_prompt"
    """Tokens that directions are read from: last_prompt | prompt | image | text."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.positions", self.positions, POSITIONS)
        one_of("method.read_positions", self.read_positions, READ_POSITIONS)
        layers("method.layers", self.layers, (*LAYER_BANDS, "auto"))
        if self.all_layers_at_once and self.layers == "auto":
            raise CalibError(
                "method.layers: auto chooses one layer, but method.all_layers_at_once edits several "
                "at once. Give a band or a list, or method.all_layers_at_once=false."
            )


@dataclass
class Directed(Activation):
    """Methods that edit along one direction per layer."""

    contrast: str = "safety"
    """safety: unsafe minus safe examples; refusal: refused minus answered ones (harmful_refusal and
    false_refusal: among unsafe or safe ones; true_refusal: refused unsafe minus answered safe);
    responses: refusals minus answers to the same unsafe queries; modality: with minus without the
    picture."""
    estimator: str = "mean_difference"
    """How a direction is fitted to activations: mean_difference | paired_mean_difference | pca |
    logistic_probe | lda | multi_response_means."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.contrast", self.contrast, CONTRASTS)
        one_of("method.estimator", self.estimator, ESTIMATORS)


@dataclass
class Steer(Directed):
    """The whole grid of axes."""

    name: str = "steer"
    strengths: list[float] = field(
        default_factory=lambda: [-6.0, -4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0, 6.0]
    )
    """1.0 moves an activation by the distance between the two class means; 0 changes nothing."""
    site: str = "residual"
    """residual: a block's output; heads: its attention heads; mlp: its MLP's output."""
    operator: str = "add"
    """add | add_keeping_norm | add_by_norm | add_by_norm_keeping_norm | ablate | linear |
    clamp."""
    direction: str | None = None
    """Path of a direction file to use instead of fitting one."""
    gate: str = "none"
    """none: every example is edited; cosine, probe: those that a condition finds unsafe."""
    otherwise: str = "nothing"
    """What is done where the gate stays closed: nothing, or the opposite."""
    gate_layers: Any = "all"
    """Layers among which the gate's is chosen on validation."""
    threshold: float | None = None
    """Where the gate opens; null chooses it on validation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.site", self.site, SITES)
        one_of("method.operator", self.operator, OPERATORS)
        one_of("method.gate", self.gate, GATES)
        one_of("method.otherwise", self.otherwise, ("nothing", "opposite"))
        layers("method.gate_layers", self.gate_layers, LAYER_BANDS)
        path("method.direction", self.direction)
        if self.direction is not None and self.site != "residual":
            raise CalibError(
                f"method.site={self.site} with method.direction: a direction file says its own "
                "site. Leave method.site away."
            )


@dataclass
class Ablation(Directed):
    """Methods that remove a direction, found at one layer, from several."""

    edited_layers: Any = "all"
    """Blocks whose outputs are edited, whichever layer the direction comes from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        layers("method.edited_layers", self.edited_layers, LAYER_BANDS)
        if self.all_layers_at_once:
            raise CalibError(
                f"method.all_layers_at_once: {self.name} takes its direction from one layer at a "
                "time and edits method.edited_layers, which are several. Omit "
                "method.all_layers_at_once."
            )


@dataclass
class Surgical(Ablation):
    orthogonalisation: float = 1.0
    """Share of the refusal direction that is taken out of the false-refusal vector."""
    refusal_strength: float = 0.0
    """Gap units of the refusal direction added at its source layer, beside the ablation."""


@dataclass
class Scans(Directed):
    continuation: str = " Sure"
    """What is put behind the prompt to see where the model is going."""
    gate_layers: Any = "upper"
    """Layers whose transitions are averaged."""
    threshold: float | None = None
    """Cosine with the unsafe transition from which a query counts as unsafe; null chooses it on
    validation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        layers("method.gate_layers", self.gate_layers, LAYER_BANDS)


@dataclass
class Adaptive(Activation):
    coefficient_layer: Any = "auto"
    """Layer whose projections decide how much is added; auto is the one with the best AUROC."""
    refusal_slope: float = -2.0
    """Gaps of the refusal direction added for each gap of projection on it."""
    refusal_limits: list[float] = field(default_factory=lambda: [-2.0, 2.0])
    """Least and most of the refusal direction, in gap units at strength 1."""
    harm_slope: float = 2.0
    """Gaps of the harm direction added for each gap of projection on it."""
    harm_limits: list[float] = field(default_factory=lambda: [-2.0, 2.0])
    """Least and most of the harm direction, in gap units at strength 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        layers("method.coefficient_layer", self.coefficient_layer, ("auto",))
        if isinstance(self.coefficient_layer, list):
            raise CalibError("method.coefficient_layer: give one layer, or auto.")
        finite("method.refusal_slope, harm_slope", [self.refusal_slope, self.harm_slope])
        for key in ("refusal_limits", "harm_limits"):
            limits = getattr(self, key)
            finite(f"method.{key}", limits)
            if len(limits) != 2 or limits[0] > limits[1]:
                raise CalibError(f"method.{key}: {limits} is not [least, most].")


@dataclass
class Nullspace(Directed):
    null_share: float = 0.6
    """Share of the directions, those in which safe activations vary least, that may be used."""
    ridge: float = 10.0
    """Penalty of the ridge regression."""

    def __post_init__(self) -> None:
        super().__post_init__()
        between("method.null_share", self.null_share, 0.0, 1.0)
        positive("method.ridge", self.ridge)


@dataclass
class Revision(Activation):
    """Internal Activation Revision."""

    samples: str = "responses"
    """Contrastive samples: responses (refusals against answers to one query), safety (unsafe
    against safe queries), modality (with against without the picture)."""
    extractor: str = "mean_shift"
    """mean_shift: mass-mean shift; probe_weight: the weights of a logistic probe."""
    heads: int = 8
    """Heads that are edited, the best by their probes (iar_head)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.samples", self.samples, ("responses", "safety", "modality"))
        one_of("method.extractor", self.extractor, ("mean_shift", "probe_weight"))
        at_least_one("method.heads", self.heads)


@dataclass
class Captioned(Activation):
    """Methods that compare a picture with its caption."""

    captions: str | None = None
    """Path of a CSV or JSONL file with columns id and caption; null asks the model itself."""
    question: str | None = None
    """How the model is asked for a caption; null takes it from texts."""
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Our words, by checkpoint; "any" is for all others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        path("method.captions", self.captions)


@dataclass
class Modality(Activation):
    """Methods that remove what a picture does to activations."""

    picture: str = "blank"
    """What the query is shown with to see what pictures do: blank, noise, or own."""
    per_example: bool = False
    """Measure the shift for every example, instead of its mean over the train pairs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.picture", self.picture, ("blank", "noise", "own"))


@dataclass
class Subspace(Activation):
    rank: int = 3
    """Directions that span the safety subspace."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one("method.rank", self.rank)


@dataclass
class Combine(MethodConfig):
    prompt: MethodConfig = field(default_factory=lambda: MethodConfig("reminder"))
    """A prompt-based method, at its first strength."""
    activation: MethodConfig = field(default_factory=lambda: MethodConfig("steer"))
    """An activation-based method, which gives the layers and the strengths."""


METHODS: dict[str, type] = {
    "none": NoneMethod,
    "activation": Activation,
    "directed": Directed,
    "steer": Steer,
    "ablation": Ablation,
    "surgical": Surgical,
    "scans": Scans,
    "adaptive": Adaptive,
    "nullspace": Nullspace,
    "revision": Revision,
    "captioned": Captioned,
    "modality": Modality,
    "subspace": Subspace,
    "prompting": Prompting,
    "worded": Worded,
    "few_shot": FewShot,
    "dialogue": PromptFlowMethod,
    "combine": Combine,
}
"""Schemas that a method's YAML extends, by their names in it."""
