"""Settings of the two commands that run a model over examples: calib.sweep and calib.extract."""

from dataclasses import dataclass, field
from typing import Any

from calib.config.checks import (
    at_least_one,
    between,
    layers,
    one_of,
    path,
    positive,
)
from calib.config.choices import CONTRASTS, ESTIMATORS, MAPPINGS, READ_POSITIONS, SITES
from calib.config.data import DataConfig, UtilityConfig
from calib.config.judge import JudgeConfig
from calib.config.model import ModelChoice
from calib.config.prompts import MethodConfig, NoneMethod, Prompting
from calib.util.errors import CalibError


@dataclass
class GenerationConfig:
    max_new_tokens: int = 32
    """A response is cut after this many tokens."""
    batch_rows: int = 512
    """Rows answered at once, where memory allows. Any number gives the same responses in float32.
    """
    memory_gb: float | None = None
    """What keys, values and activations may take, in GB; null is half of the machine's memory, or
    what the weights leave of a GPU's."""
    temperature: float = 0.0
    """0 takes the likeliest token; above, every row draws by random numbers of its own."""
    top_p: float = 1.0
    """With temperature: draw among the likeliest tokens that together have this probability."""
    sharing: bool = True
    """Rows of one prompt share what they have in common. The responses are the same without."""
    early_stop: bool = False
    """End a response as soon as the judge cannot change its mind about the label."""

    def __post_init__(self) -> None:
        at_least_one("generation.max_new_tokens", self.max_new_tokens)
        at_least_one("generation.batch_rows", self.batch_rows)
        between("generation.temperature", self.temperature, 0.0, 100.0)
        between("generation.top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0:
            raise CalibError("generation.top_p: 0 leaves no token to draw; 1 leaves all.")
        positive("generation.memory_gb", self.memory_gb)

    @property
    def memory(self) -> int | None:
        """memory_gb in bytes."""
        return None if self.memory_gb is None else int(self.memory_gb * 10**9)


@dataclass
class SweepConfig:
    model: ModelChoice
    method: MethodConfig
    reference: MethodConfig
    """A prompt-only method that is asked beside the run's, the bar that it has to beat; none is
    needed where the run has a prompt-only method of its own."""
    data: DataConfig
    utility: UtilityConfig
    judge: JudgeConfig
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    methods: dict[str, MethodConfig] = field(default_factory=dict)
    """Several methods in one run, on one record; an experiment fills this in. Empty runs method."""
    experiment: str | None = None
    """Name of the experiment that put the run together, if one did."""
    title: str | None = None
    """What an experiment is, said in its output."""
    out: str | None = None
    """Folder of the run; null is a folder under runs/ named by the configuration."""
    seed: int = 0
    """Jitter of the mini world's pictures, and the draws of generation.temperature."""
    mapping: str = "calib"
    """How labels become metrics: calib | paper (VSCBench's own). The responses stay the same."""
    report: bool = True
    """Whether report.html is written at the end; calib.report writes it later, too."""

    def __post_init__(self) -> None:
        one_of("mapping", self.mapping, MAPPINGS)
        path("out", self.out)
        if not isinstance(self.reference, NoneMethod | Prompting):
            raise CalibError(
                f"method@reference={self.reference.name} does not change the prompt alone. Choose"
                " one of reminder, caution, few_shot, cot, ecso, or none."
            )
        if self.methods and self.method.name != "none":
            name, several = self.method.name, ", ".join(self.methods)
            raise CalibError(
                f"method={name} would be left out beside methods ({several}). Add it with "
                f"+method@methods.{name}={name}, and give method=none."
            )


@dataclass
class ExtractConfig:
    model: ModelChoice
    data: DataConfig
    utility: UtilityConfig
    estimator: str = "mean_difference"
    """How a direction is fitted to the pairs' activations."""
    contrast: str = "safety"
    """safety: unsafe minus safe examples; refusal: refused minus answered ones; responses: refusals
    minus answers to the same unsafe queries; modality: with minus without the picture."""
    read_positions: str = "last_prompt"
    """Tokens the direction is read from: last_prompt | prompt | image | text."""
    site: str = "residual"
    """residual: a block's output; heads: its attention heads; mlp: its MLP's output."""
    layers: Any = "all"
    """Decoder blocks that are read, from 0: all, one number, or a list of them."""
    kl: float | None = 0.1
    """Budget of KL at which each layer's effect is measured, in nats; null leaves that away."""
    max_new_tokens: int = 32
    """A response is cut after this many tokens (contrast=refusal has the model answer)."""
    batch_rows: int = 64
    """Prompts read at once."""
    out: str | None = None
    """Folder of the result; null is a folder under runs/ named by the configuration."""

    def __post_init__(self) -> None:
        one_of("estimator", self.estimator, ESTIMATORS)
        one_of("contrast", self.contrast, CONTRASTS)
        one_of("read_positions", self.read_positions, READ_POSITIONS)
        one_of("site", self.site, SITES)
        positive("kl", self.kl)
        layers("layers", self.layers)
        at_least_one("max_new_tokens", self.max_new_tokens)
        at_least_one("batch_rows", self.batch_rows)
        path("out", self.out)
