"""Settings of a model: loaded from weights, or remote behind an endpoint.

Differences between providers are settings here and in conf/model, never code.
"""

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from calib.config.checks import (
    address,
    at_least_one,
    between,
    environment,
    not_blank,
    one_of,
    positive,
    template_kwargs,
)
from calib.config.choices import (
    DIRECTION_ORIGINS,
    DTYPES,
    LENGTH_LIMITS,
    QUANTIZATIONS,
    SAMPLING,
    SYSTEM_PLACES,
)
from calib.util.errors import CalibError

_RESERVED = ("model", "messages", "n", "stream", "stop", *LENGTH_LIMITS, *SAMPLING)
"""Fields of a request that model.extra may not set: other settings decide them, or calib depends on
them to read the reply."""


@dataclass
class ModelChoice:
    """Settings of every model."""

    name: str
    """Name of the model; the default folder of a run of a checkpoint is named after that."""
    chat_template_kwargs: Any = field(default=None, kw_only=True)
    """Further variables of the chat template, e.g. {enable_thinking: false}. A name that the
    template does not read is refused; an endpoint gets them in every request, and may ignore
    them."""
    system_place: str = field(default="template", kw_only=True)
    """Place of system prompts: template (a system message; refused where the chat template leaves
    it out) or user (before the first query, with a blank line in between, for models whose
    template takes no system message)."""

    @property
    def folder_name(self) -> str:
        """Name of the model in the default folder of a run."""
        return self.name

    def __post_init__(self) -> None:
        not_blank("model.name", self.name)
        one_of("model.system_place", self.system_place, SYSTEM_PLACES)
        template_kwargs("model.chat_template_kwargs", self.chat_template_kwargs)


MINI = "mini-internvl"
PACKAGED: dict[str, str] = {MINI: "mini", "mini-internvl-2": "mini2"}
"""Model organisms whose weights ship with calib, by the name of the checkpoint, and the data that
each was trained on, as data= and utility= name it."""

MINI_LENGTH, LENGTH = 32, 256
"""Default length of a response, in tokens: of a packaged model, whose responses are one sentence,
and of every other model, whose refusals and warnings may come late in a response."""


def default_length(model: "ModelChoice") -> int:
    """Largest number of tokens of a response of ``model`` if max_new_tokens is null."""
    is_mini = isinstance(model, ModelConfig) and (model.checkpoint or MINI) in PACKAGED
    return MINI_LENGTH if is_mini else LENGTH


@dataclass
class RemoteModelConfig(ModelChoice):
    """A chat model behind an endpoint with OpenAI's chat-completions API."""

    name: str = "remote"
    model: str | None = None
    """Id of the model at its endpoint, preferably a dated one; required."""
    base_url: str = "https://api.openai.com/v1"
    """Address of the endpoint."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the API key; servers on this machine need none."""
    limit_name: str = "max_tokens"
    """Name of the endpoint's limit on response length: max_tokens | max_completion_tokens."""
    sends: list[str] = field(default_factory=lambda: list(SAMPLING))
    """Sampling parameters that the model accepts, among temperature, top_p and seed; [] for models
    that reject them."""
    most_temperature: float = 2.0
    """Largest temperature that the endpoint accepts."""
    blocks: list[str] = field(default_factory=lambda: ["content_filter", "refusal"])
    """Finish reasons that mean that the provider, not the model, ended or withheld a response."""
    extra: Any = None
    """Further fields of every request, e.g. {reasoning_effort: low}."""
    image_side: int = 1024
    """Largest side of a picture that is sent, in pixels."""
    concurrency: int = 8
    """Largest number of concurrent requests."""
    timeout: float = 120.0
    """Seconds after which a request is cancelled and retried."""
    retries: int = 5
    """Number of retries after a transient failure."""
    max_requests: int | None = None
    """Stop before one invocation of the command exceeds this number of requests; null means no
    limit."""
    note: str | None = None
    """Remark about the endpoint, printed with the results."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is not None and not self.model.strip():
            raise CalibError(
                "invalid-setting",
                "model.model: the id is empty. Give the model's id at its endpoint.",
            )
        address("model.base_url", self.base_url, "model.key_env")
        environment("model.key_env", self.key_env)
        one_of("model.limit_name", self.limit_name, LENGTH_LIMITS)
        for parameter in self.sends:
            one_of("model.sends", parameter, SAMPLING)
        between("model.most_temperature", self.most_temperature, 0.0, 100.0)
        if not isinstance(self.extra, dict | None):
            raise CalibError(
                "invalid-setting",
                f"model.extra: {self.extra!r} is not a table. Give fields of a request by name: "
                "model.extra={reasoning_effort: low}.",
            )
        for name in self.extra or {}:
            if not isinstance(name, str) or name in _RESERVED:
                raise CalibError(
                    "conflicting-settings",
                    f"model.extra: '{name}' is set by another setting (model.model, model.sends, "
                    "generation.*), or is fixed. Omit it.",
                )
        if self.chat_template_kwargs and "chat_template_kwargs" in (self.extra or {}):
            raise CalibError(
                "conflicting-settings",
                "model.extra: 'chat_template_kwargs' is set by model.chat_template_kwargs too. "
                "Omit one of them.",
            )
        at_least_one("model.image_side", self.image_side)
        at_least_one("model.concurrency", self.concurrency)
        positive("model.timeout", self.timeout)
        between("model.retries", self.retries, 0, 100)
        at_least_one("model.max_requests", self.max_requests)


@dataclass
class ModelConfig(ModelChoice):
    """A model that is loaded from its weights."""

    checkpoint: str | None = None
    """Hub id or path of the weights; null means mini-internvl, which ships with calib."""
    revision: str | None = None
    """Commit, tag or branch of a hub checkpoint."""
    dtype: str = "float32"
    """float32 | bfloat16 | float16 | auto (as stored). Rows are exactly reproducible in float32."""
    device_map: str | None = None
    """null means one device, a GPU if there is one; auto spreads a large model over all devices."""
    attention: str = "sdpa"
    """Attention implementation in transformers: sdpa, eager, flash_attention_2."""
    quantization: str | None = None
    """Quantize the weights to 4bit or 8bit (bitsandbytes, needs a GPU); null keeps dtype."""
    chat_template: str | None = None
    """Chat template that replaces the processor's, as text (Jinja) or the path of a file; required
    for models without one."""
    tiles: bool = False
    """Cut large pictures into tiles (InternVL's crop_to_patches): more detail, more tokens."""
    accept_directions: str = "same_settings"
    """Direction files and runs that may be used with this model: same_settings (the same weights,
    dtype, quantization, chat template and picture settings) | same_weights (also those made under
    other settings, with a note that names them). Attention, device and path never matter."""
    max_pixels: int | None = None
    """Largest number of pixels of a picture, e.g. 1000000: fewer tokens and less memory. null means
    the processor's own limit. In the processor's terms where it has one (docs/models.md)."""
    min_pixels: int | None = None
    """Least number of pixels to which a small picture is scaled up (Qwen-VL, GLM-V); null means
    the processor's own."""

    @property
    def folder_name(self) -> str:
        """The last part of the checkpoint's id or path; ``name`` for the included model."""
        return PurePath(self.checkpoint).name if self.checkpoint else self.name

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("revision", "device_map", "attention", "chat_template"):
            not_blank(f"model.{key}", getattr(self, key))
        one_of("model.dtype", self.dtype, DTYPES)
        at_least_one("model.max_pixels", self.max_pixels)
        at_least_one("model.min_pixels", self.min_pixels)
        if self.quantization is not None:
            one_of("model.quantization", self.quantization, QUANTIZATIONS)
        one_of("model.accept_directions", self.accept_directions, DIRECTION_ORIGINS)
        if self.checkpoint is not None and not self.checkpoint.strip():
            raise CalibError(
                "missing-setting",
                "model.checkpoint is required. Give the id of a model of the Hugging Face hub, "
                "model.checkpoint=ORG/NAME, or a folder, model.checkpoint=./FOLDER.",
            )
