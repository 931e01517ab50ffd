"""What can be configured about the judges: who labels the responses, and how it is asked.

Nothing here imports torch.
"""

from dataclasses import dataclass, field

from calib.config_checks import at_least_one, between, one_of, positive


@dataclass
class LabelRule:
    """Which label an output of a classifier means."""

    pattern: str
    """Regular expression that is found in what a guard writes, or the name of a class."""
    label: str
    """refusal, safe_completion, answer or irrelevant."""
    safety: str | None = None
    """Only for safe or only for unsafe queries; null is both."""


@dataclass
class JudgeConfig:
    name: str
    """auto picks rules for the mini world and string for everything else."""


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
    """What its outputs mean; the first that fits counts."""
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
        at_least_one("judge.max_new_tokens", self.max_new_tokens)
        at_least_one("judge.batch", self.batch)


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
    """Show the judge the picture too."""
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
    """Stop with an error before more requests than this are made; null is no limit."""

    def __post_init__(self) -> None:
        one_of("judge.protocol", self.protocol, ("calib", "vscbench", "dualbench"))
        between("judge.temperature", self.temperature, 0.0, 2.0)
        at_least_one("judge.max_tokens", self.max_tokens)
        at_least_one("judge.concurrency", self.concurrency)
        positive("judge.timeout", self.timeout)
        between("judge.retries", self.retries, 0, 100)
        at_least_one("judge.max_requests", self.max_requests)


JUDGES: dict[str, type] = {"any": JudgeConfig, "classifier": ClassifierJudge, "llm": LlmJudge}
