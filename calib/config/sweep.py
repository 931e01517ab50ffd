"""Settings of the two commands that run a model on examples: calib.sweep and calib.extract."""

from dataclasses import dataclass, field, replace
from typing import Any

from calib.config.checks import (
    at_least_one,
    between,
    count,
    layers,
    one_of,
    path,
    positive,
    read_positions,
    shard,
)
from calib.config.choices import CONTRASTS, ESTIMATORS, MAPPINGS, SITES
from calib.config.choose import ChooseConfig
from calib.config.chosen_utility import chosen_utility
from calib.config.data import DataConfig, UtilityConfig
from calib.config.engine import EngineChoice, VllmChoice
from calib.config.judge import JudgeConfig
from calib.config.model import ModelChoice, default_length
from calib.config.prompts import MethodConfig, NoneMethod, Prompting
from calib.util.errors import CalibError


@dataclass
class GenerationConfig:
    max_new_tokens: int | None = None
    """Largest number of tokens of a response; null means 32 for mini-internvl, which answers in one
    sentence, and 256 for every other model."""
    batch_rows: int = 512
    """Largest number of rows in a batch, memory permitting. In float32 the responses do not depend
    on it, and how many rows decode together, up to this number, is measured."""
    memory_gb: float | None = None
    """Memory for KV cache and activations, in GB; null means half of the machine's memory, or the
    GPU memory that the weights leave free."""
    temperature: float = 0.0
    """Sampling temperature; 0 takes the most likely token. Each row has its own random numbers."""
    top_p: float = 1.0
    """Nucleus sampling: draw among the most likely tokens whose probabilities add up to this."""
    sharing: bool = True
    """Compute what rows of one prompt have in common only once. Responses do not depend on it."""
    early_stop: bool = False
    """End a response as soon as further tokens cannot change its label."""

    def __post_init__(self) -> None:
        at_least_one("generation.max_new_tokens", self.max_new_tokens)
        at_least_one("generation.batch_rows", self.batch_rows)
        between("generation.temperature", self.temperature, 0.0, 100.0)
        between("generation.top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0:
            raise CalibError(
                "invalid-setting",
                "generation.top_p: 0 leaves no token to draw. Give more than 0; 1 keeps them all.",
            )
        positive("generation.memory_gb", self.memory_gb)

    @property
    def memory(self) -> int | None:
        """memory_gb in bytes."""
        return None if self.memory_gb is None else int(min(self.memory_gb, 1e9) * 10**9)

    def with_length(self, default: int) -> "GenerationConfig":
        """These settings, with ``default`` where max_new_tokens is null."""
        return self if self.max_new_tokens is not None else replace(self, max_new_tokens=default)


@dataclass
class SweepConfig:
    """Calibrate a model over layers and strengths, and measure safety and helpfulness."""

    model: ModelChoice
    method: MethodConfig
    reference: MethodConfig
    """Prompt-only method that is also run, for comparison; unused if the run has a
    prompt-only method anyway."""
    data: DataConfig
    utility: UtilityConfig
    judge: JudgeConfig
    engine: EngineChoice = field(default_factory=EngineChoice)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    choose: ChooseConfig = field(default_factory=ChooseConfig)
    methods: dict[str, MethodConfig] = field(default_factory=dict)
    """Several methods in one run; an experiment sets this. Empty means method alone."""
    experiment: str | None = None
    """Name of the experiment that set up the run, if any."""
    title: str | None = None
    """Title of the experiment, shown in its output."""
    out: str | None = None
    """Folder of the run; null means a folder under runs/ named after the configuration."""
    seed: int = 0
    """Seed of the mini worlds' pictures and of sampling (generation.temperature)."""
    mapping: str = "calib"
    """Mapping from labels to metrics: calib | paper (VSCBench's). Responses do not depend on it."""
    report: bool = True
    """Write report.html at the end; calib.report can also write it later."""
    shard: str | None = None
    """Part of the rows to make in this process, such as 2/5; null makes, or joins, all of them."""
    devices: Any = None
    """Processes on this machine, each of which makes one shard: all (one per GPU) or a number; null
    means this process alone."""
    shard_wait: float = 60.0
    """Minutes without a new row of any other shard after which a shard stops waiting for them."""

    def __post_init__(self) -> None:
        self.utility = chosen_utility(self.utility, self.model)
        one_of("mapping", self.mapping, MAPPINGS)
        path("out", self.out)
        between("seed", self.seed, -(2**62), 2**62)  # with a row's number, within 64 bits
        if self.shard is not None:
            shard("shard", self.shard)
        if self.devices not in (None, "all"):
            count("devices", self.devices, "all")
        if self.devices is not None and self.shard is not None:
            raise CalibError(
                "conflicting-settings",
                f"devices={self.devices} starts all shards, so shard={self.shard} would be "
                "ignored. Omit one of the two.",
            )
        engine = self.engine
        if self.devices is not None and isinstance(engine, VllmChoice) and not engine.urls:
            for name in ("tensor_parallel", "pipeline_parallel"):
                if getattr(engine, name) > 1:
                    raise CalibError(
                        "conflicting-settings",
                        f"devices={self.devices} starts a process per device, each of which sees "
                        f"one GPU, and engine.{name}={getattr(engine, name)} needs several in one "
                        "process. Omit devices, or start shards (shard=1/2, shard=2/2) with "
                        "GPUs of their own in CUDA_VISIBLE_DEVICES.",
                    )
        positive("shard_wait", self.shard_wait)
        # Here, so that the run records the number, and not the default of its version.
        self.generation = self.generation.with_length(default_length(self.model))
        if not isinstance(self.reference, NoneMethod | Prompting):
            raise CalibError(
                "invalid-setting",
                f"method@reference={self.reference.name} is not a prompt-only method. Choose "
                "reminder, caution, few_shot, cot, ecso, self_check, or none.",
            )
        if self.methods and self.method.name != "none":
            name, several = self.method.name, ", ".join(self.methods)
            raise CalibError(
                "conflicting-settings",
                f"method={name} would be ignored, because methods is set ({several}). Add it with "
                f"+method@methods.{name}={name}, and give method=none.",
            )


@dataclass
class PlanConfig(SweepConfig):
    """Estimate the rows, memory and time of a sweep before it starts."""


@dataclass
class ExtractConfig:
    """Fit a direction per layer to pairs of a safe and an unsafe example."""

    model: ModelChoice
    data: DataConfig
    utility: UtilityConfig
    engine: EngineChoice = field(default_factory=EngineChoice)
    estimator: str = "mean_difference"
    """Estimator of the direction, fitted to the pairs' activations."""
    contrast: str = "safety"
    """Two classes of activations, whose difference is the direction. safety: unsafe minus safe
    examples; refusal: refused minus answered examples; completion: refusals minus safe completions;
    responses: refusals minus answers to the same unsafe queries; modality: with minus without the
    picture."""
    read_positions: str = "last_prompt"
    """Tokens to read the direction from. last_prompt; last_prompt-1, -2, ...: one token of the chat
    template before it; instruction_end: the last token of the user's query; response: the mean over
    response tokens, for contrast=responses; prompt, image, text: means over these tokens."""
    site: str = "residual"
    """Activations to read. residual: a block's output; heads: its attention heads; mlp: its MLP's
    output."""
    layers: Any = "all"
    """Decoder blocks to read, counted from 0: all, a number, or a list of numbers."""
    kl: float | None = 0.1
    """KL budget, in nats, at which each layer's effect is measured; null skips the measurement."""
    max_new_tokens: int | None = None
    """Largest number of tokens of a response, for contrasts that compare responses; null means 32
    for mini-internvl and 256 for every other model."""
    batch_rows: int = 64
    """Prompts per batch."""
    out: str | None = None
    """Folder of the result; null means a folder under runs/ named after the configuration."""

    def __post_init__(self) -> None:
        self.utility = chosen_utility(self.utility, self.model)
        one_of("estimator", self.estimator, ESTIMATORS)
        one_of("contrast", self.contrast, CONTRASTS)
        read_positions("read_positions", self.read_positions)
        if self.read_positions == "response" and self.contrast != "responses":
            raise CalibError(
                "conflicting-settings",
                f"read_positions=response: the examples of contrast={self.contrast} have no "
                "responses. Give contrast=responses.",
            )
        one_of("site", self.site, SITES)
        positive("kl", self.kl)
        layers("layers", self.layers)
        at_least_one("max_new_tokens", self.max_new_tokens)
        if self.max_new_tokens is None:
            self.max_new_tokens = default_length(self.model)
        at_least_one("batch_rows", self.batch_rows)
        path("out", self.out)
