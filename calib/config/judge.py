"""What can be configured about the judges: who labels the responses, and how it is asked.

Nothing here imports torch.
"""

import re
from dataclasses import dataclass, field

from calib.config.checks import (
    address,
    at_least_one,
    between,
    environment,
    one_of,
    path,
    positive,
)
from calib.config.choices import LABELS, PROTOCOLS
from calib.util.errors import CalibError


@dataclass
class LabelRule:
    """Which label an output of a classifier means."""

    pattern: str
    """Regular expression that is found in what a guard writes, or the name of a class."""
    label: str
    """refusal, safe_completion, answer or irrelevant."""
    safety: str | None = None
    """Only for safe or only for unsafe queries; null is both."""

    def __post_init__(self) -> None:
        one_of("judge.labels.label", self.label, LABELS)
        if self.safety is not None:
            one_of("judge.labels.safety", self.safety, ("safe", "unsafe"))
        if not self.pattern.strip():
            # It would be found in everything.
            raise CalibError(
                f"judge.labels: the pattern of label {self.label} is empty. Give the name of a "
                "class, or a regular expression."
            )


@dataclass
class JudgeConfig:
    name: str
    """Name of the judge; auto picks rules for the mini world and string for everything else."""


@dataclass
class ClassifierJudge(JudgeConfig):
    name: str = "classifier"
    checkpoint: str | None = None
    """Hub id or path of the classifier or guard."""
    revision: str | None = None
    """Commit, tag or branch of a hub checkpoint."""
    kind: str = "generative"
    """generative: a guard that writes its verdict after query and response; sequence: a
    classifier of the response."""
    labels: list[LabelRule] = field(default_factory=list)
    """What its outputs mean; the first that fits counts, and where none does there is no label."""
    dtype: str = "auto"
    """float32 | bfloat16 | float16 | auto (as stored)."""
    device_map: str | None = None
    """null is one device, a GPU where there is one; auto spreads a large model over all."""
    max_new_tokens: int = 128
    """A guard's verdict is cut after this many tokens."""
    batch: int = 16
    """Responses judged at once."""

    def __post_init__(self) -> None:
        one_of("judge.kind", self.kind, ("generative", "sequence"))
        one_of("judge.dtype", self.dtype, ("float32", "bfloat16", "float16", "auto"))
        path("judge.checkpoint", self.checkpoint)
        at_least_one("judge.max_new_tokens", self.max_new_tokens)
        at_least_one("judge.batch", self.batch)
        if self.checkpoint is not None and not self.labels:
            raise CalibError(
                "judge.labels is empty: nothing says what the outputs of "
                f"{self.checkpoint} mean. Give rules, e.g. "
                "judge.labels=[{pattern:NAME_OF_A_CLASS,label:refusal}]."
            )
        for rule in self.labels if self.kind == "generative" else []:
            try:
                re.compile(rule.pattern)
            except re.error as error:
                raise CalibError(
                    f"judge.labels: {rule.pattern!r} is no regular expression ({error}). "
                    "Put it right, or write a backslash before what is meant literally."
                ) from None


@dataclass
class LlmJudge(JudgeConfig):
    name: str = "llm"
    models: list[str] = field(default_factory=list)
    """Model ids as the endpoint names them; of several the majority decides."""
    base_url: str | None = None
    """Endpoint that speaks OpenAI's chat completions; null is OpenAI's own."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key."""
    protocol: str = "calib"
    """calib (our labels) | vscbench (its four classes) | dualbench (its two stages)."""
    image: bool = False
    """Show the judge the picture too (protocol calib only), its longer side at most 1024 pixels."""
    temperature: float = 0.0
    """0 is what makes a judgement repeatable, where the endpoint is."""
    max_tokens: int = 512
    """A reply is cut after this many tokens."""
    concurrency: int = 8
    """Requests under way at once."""
    timeout: float = 60.0
    """Seconds after which a request is given up and tried again."""
    retries: int = 3
    """How often a request that failed, or a reply that cannot be read, is tried again."""
    max_requests: int | None = None
    """Stop with an error before a run makes more requests than this; null is no limit."""

    def __post_init__(self) -> None:
        one_of("judge.protocol", self.protocol, PROTOCOLS)
        for model in self.models:
            if not model.strip() or self.models.count(model) > 1:
                raise CalibError(
                    f"judge.models: {self.models} has an empty name or the same one twice, and a "
                    "model votes once. Give each model one name."
                )
        if self.base_url is not None:
            address("judge.base_url", self.base_url, "judge.key_env")
        environment("judge.key_env", self.key_env)
        if self.image and self.protocol != "calib":
            raise CalibError(
                f"judge.image: the protocol {self.protocol} judges text alone, as its paper does. "
                "Leave judge.image away, or take judge.protocol=calib."
            )
        between("judge.temperature", self.temperature, 0.0, 2.0)
        at_least_one("judge.max_tokens", self.max_tokens)
        at_least_one("judge.concurrency", self.concurrency)
        positive("judge.timeout", self.timeout)
        between("judge.retries", self.retries, 0, 100)
        at_least_one("judge.max_requests", self.max_requests)


JUDGES: dict[str, type] = {"any": JudgeConfig, "classifier": ClassifierJudge, "llm": LlmJudge}
