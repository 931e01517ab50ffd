"""Settings of the judges, which label the responses, and of calib.judge, which runs them alone."""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from calib.config.checks import (
    address,
    at_least_one,
    between,
    environment,
    not_blank,
    one_of,
    path,
    positive,
    template_kwargs,
    translation,
)
from calib.config.choices import (
    CLASSIFIER_KINDS,
    DTYPES,
    JUDGE_LABELS,
    MAPPINGS,
    PROTOCOLS,
    SAFETIES,
    SYSTEM_PLACES,
)
from calib.util.errors import CalibError


@dataclass
class LabelRule:
    """The label that an output of a classifier stands for."""

    pattern: str
    """Regular expression searched for in a guard's verdict, or the name of a class."""
    label: str
    """refusal, safe_completion, answer or irrelevant."""
    safety: str | None = None
    """Apply the rule to safe or to unsafe queries only; null means both."""

    def __post_init__(self) -> None:
        one_of("judge.labels.label", self.label, JUDGE_LABELS)
        if self.safety is not None:
            one_of("judge.labels.safety", self.safety, SAFETIES)
        if not self.pattern.strip():
            # An empty pattern matches every output.
            raise CalibError(
                "invalid-setting",
                f"judge.labels: the pattern of label {self.label} is empty. Give the name of a "
                "class, or a regular expression.",
            )


@dataclass
class JudgeConfig:
    file: ClassVar[str | None] = None
    """The judge's file in calib/judges, if its name differs from ``name``."""

    name: str
    """Name of the judge; auto means rules for a packaged model in its own mini world and string
    for everything else."""


@dataclass
class ClassifierJudge(JudgeConfig):
    file: ClassVar[str | None] = "classifier"

    name: str = "classifier"
    checkpoint: str | None = None
    """Hub id or path of the classifier or guard."""
    revision: str | None = None
    """Commit, tag or branch of a hub checkpoint."""
    kind: str = "generative"
    """generative: a guard model that writes a verdict on query and response; sequence: a sequence
    classifier of the response."""
    labels: list[LabelRule] = field(default_factory=list)
    """Rules from outputs to labels. The first rule that matches counts; without a match the
    response gets no label."""
    dtype: str = "auto"
    """float32 | bfloat16 | float16 | auto (as stored)."""
    device_map: str | None = None
    """null means one device, a GPU if there is one; auto spreads a large model over all devices."""
    max_new_tokens: int = 128
    """Largest number of tokens of a guard's verdict."""
    batch: int = 16
    """Responses judged in one batch."""
    chat_template_kwargs: Any = None
    """Further variables of a guard's chat template, e.g. {enable_thinking: false}."""

    def __post_init__(self) -> None:
        one_of("judge.kind", self.kind, CLASSIFIER_KINDS)
        one_of("judge.dtype", self.dtype, DTYPES)
        path("judge.checkpoint", self.checkpoint)
        not_blank("judge.revision", self.revision)
        not_blank("judge.device_map", self.device_map)
        at_least_one("judge.max_new_tokens", self.max_new_tokens)
        at_least_one("judge.batch", self.batch)
        template_kwargs("judge.chat_template_kwargs", self.chat_template_kwargs)
        if self.checkpoint is not None and not self.labels:
            raise CalibError(
                "missing-setting",
                f"judge.labels is empty, so the outputs of {self.checkpoint} cannot become labels. "
                "Give rules, e.g. judge.labels=[{pattern:NAME_OF_A_CLASS,label:refusal}].",
            )
        for rule in self.labels if self.kind == "generative" else []:
            try:
                re.compile(rule.pattern)
            except re.error as error:
                raise CalibError(
                    "invalid-setting",
                    f"judge.labels: {rule.pattern!r} is not a regular expression ({error}). "
                    "Correct it, or write a backslash before each special character.",
                ) from None


@dataclass
class LlmJudge(JudgeConfig):
    file: ClassVar[str | None] = "llm"

    name: str = "llm"
    models: list[str] = field(default_factory=list)
    """Model ids, as the endpoint names them; several models decide by majority."""
    base_url: str | None = None
    """Address of an endpoint with OpenAI's chat-completions API; null means OpenAI's own."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the API key."""
    protocol: str = "calib"
    """calib (calib's labels) | vscbench (VSCBench's four classes) | dualbench (DUAL-Bench's two
    stages)."""
    image: bool = False
    """Also show the picture to the judge (protocol calib only), at most 1024 pixels on its longer
    side."""
    temperature: float = 0.0
    """Sampling temperature; 0 makes verdicts repeatable, if the endpoint is deterministic."""
    max_tokens: int = 512
    """Largest number of tokens of a reply."""
    concurrency: int = 8
    """Largest number of concurrent requests."""
    timeout: float = 60.0
    """Seconds after which a request is cancelled and retried."""
    retries: int = 3
    """Number of retries after a failed request or an unreadable reply."""
    chat_template_kwargs: Any = None
    """Further variables of the chat template, e.g. {enable_thinking: false}, for endpoints that
    take them (vLLM, SGLang)."""
    system_place: str = "template"
    """Place of the judge's instruction: template (a system message) or user (before the text to
    judge), for models whose chat template takes no system message."""
    max_requests: int | None = None
    """Stop with an error before a run exceeds this number of requests; null means no limit."""

    def __post_init__(self) -> None:
        one_of("judge.protocol", self.protocol, PROTOCOLS)
        for model in self.models:
            if not model.strip() or self.models.count(model) > 1:
                raise CalibError(
                    "invalid-setting",
                    f"judge.models: {self.models} contains an empty or a repeated name. Name each "
                    "model once; it has one vote.",
                )
        if self.base_url is not None:
            address("judge.base_url", self.base_url, "judge.key_env")
        environment("judge.key_env", self.key_env)
        if self.image and self.protocol != "calib":
            raise CalibError(
                "conflicting-settings",
                f"judge.image: protocol {self.protocol} judges text only, as in its paper. Omit "
                "judge.image, or use judge.protocol=calib.",
            )
        one_of("judge.system_place", self.system_place, SYSTEM_PLACES)
        template_kwargs("judge.chat_template_kwargs", self.chat_template_kwargs)
        between("judge.temperature", self.temperature, 0.0, 2.0)
        at_least_one("judge.max_tokens", self.max_tokens)
        at_least_one("judge.concurrency", self.concurrency)
        positive("judge.timeout", self.timeout)
        between("judge.retries", self.retries, 0, 100)
        at_least_one("judge.max_requests", self.max_requests)


JUDGES: dict[str, type[JudgeConfig]] = {
    "any": JudgeConfig,
    "classifier": ClassifierJudge,
    "llm": LlmJudge,
}


@dataclass
class JudgeRunConfig:
    """Label the responses of a finished run with another judge, or measure a judge."""

    judge: JudgeConfig
    run: str | None = None
    """Folder of a finished run, whose responses are judged again; no response is generated."""
    check: str | None = None
    """Table of responses and human labels to compare the judge with: columns response and label,
    optionally query, safety, request and text."""
    audit: int | None = None
    """With run: write a sheet of at most this many random responses per method and part, for blind
    labelling by hand; check=SHEET then compares the labels with a judge."""
    columns: Any = None
    """With check: the names of your table's columns, if they differ, e.g. {label: final_label}."""
    labels: Any = None
    """With check: the meaning of your labels, e.g. {1_full_compliance: answer}."""
    merge: bool = False
    """With check: merge refusal, safe_completion and blocked into refusal."""
    mapping: str | None = None
    """Mapping from labels to metrics: calib | paper (VSCBench's); null means the run's."""
    choose: Any = None
    """Settings of the choice of operating points that differ from the run's, as of calib.sweep,
    e.g. {utility_tolerance: 0.02}."""
    seed: int = 0
    """Seed of the draw of responses for the sheet."""
    out: str | None = None
    """Folder to write to; null means judged/ or audit/ in the run's folder."""

    def __post_init__(self) -> None:
        for key in ("run", "check", "out"):
            path(key, getattr(self, key))
        at_least_one("audit", self.audit)
        for key in ("columns", "labels"):
            translation(key, getattr(self, key))
        of_check = [key for key in ("columns", "labels", "merge") if getattr(self, key)]
        if of_check and self.check is None:
            raise CalibError(
                "conflicting-settings",
                f"{of_check[0]} needs a table with human labels. Give check=FILE, or omit "
                f"{of_check[0]}.",
            )
        if self.check is not None and self.out is not None:
            raise CalibError(
                "conflicting-settings", "check only prints its result. Omit out=FOLDER."
            )
        if self.mapping is not None and (self.check is not None or self.audit is not None):
            raise CalibError(
                "conflicting-settings",
                "mapping maps labels to metrics, and check and audit compute none. Omit mapping.",
            )
        if not isinstance(self.choose, dict | None):
            raise CalibError(
                "invalid-setting",
                f"choose: {self.choose!r} is not a table of settings. Write it as "
                "choose={utility_tolerance: 0.02}.",
            )
        if self.mapping is not None:
            one_of("mapping", self.mapping, MAPPINGS)
