"""The schemas of all methods, and the settings of those that edit activations in other ways than
steering (calib.config.steering).

There is one dataclass per kind; a method with more settings extends it.
"""

from dataclasses import dataclass, field
from typing import Any

from calib.config.checks import (
    at_least_one,
    finite,
    layers,
    one_of,
    path,
    positive,
)
from calib.config.choices import (
    COMPARISON_PICTURES,
    LAYER_BANDS,
    PROBE_DIRECTIONS,
    SAMPLE_CONTRASTS,
    SELECTIONS,
)
from calib.config.prompts import (
    FewShot,
    MethodConfig,
    NoneMethod,
    PromptFlowMethod,
    Prompting,
    SelfCheck,
    Worded,
)
from calib.config.steering import (
    Activation,
    Adaptive,
    Directed,
    Nullspace,
    Scans,
    Steer,
    TwoSided,
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
class Ablation(Directed):
    """Methods that ablate a direction, fitted at one layer, from several layers."""

    edited_layers: Any = "all"
    """Decoder blocks to edit, whichever layer the direction comes from."""
    selection: str = "grid"
    """How the direction's token and layer are found. published: as the authors do, the token of the
    chat template and the layer with the lowest refusal score under ablation on validation; grid:
    every one of method.layers is tried, read at method.read_positions."""
    selection_kl: float = 0.1
    """Largest KL(base || ablated) of harmless queries, in nats, of a direction that
    selection=published may select."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method.selection", self.selection, SELECTIONS)
        positive("method.selection_kl", self.selection_kl)
        if self.selection == "published" and self.layers == "auto":
            raise CalibError(
                "conflicting-settings",
                "method.layers=auto and method.selection=published both select the layer. Give "
                "method.selection=grid, or omit method.layers.",
            )
        if self.selection == "published" and self.read_positions != "last_prompt":
            raise CalibError(
                "conflicting-settings",
                f"method.read_positions={self.read_positions}: method.selection=published selects "
                "the token to read. Give method.selection=grid, or omit method.read_positions.",
            )
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

    def __post_init__(self) -> None:
        super().__post_init__()
        finite("method.orthogonalisation", [self.orthogonalisation])
        finite("method.refusal_strength", [self.refusal_strength])


@dataclass
class Astra(Directed):
    """Methods that compare an activation with that of answers about harmless pictures."""

    question: str | None = None
    """Question about the pictures of safe examples, whose answers give the reference activation;
    null means the one in texts."""
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Default texts by checkpoint; "any" is for all others."""


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
    "two_sided": TwoSided,
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
    "self_check": SelfCheck,
    "dialogue": PromptFlowMethod,  # former name, for options outside of this repository
    "combine": Combine,
}
"""Schemas of the methods, by the names under which the YAML files extend them."""
