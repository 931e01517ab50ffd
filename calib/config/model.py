"""Settings of a model: one whose weights are loaded, or one behind an endpoint.

calib.config.schemas.

Providers differ in details, which are data here and in conf/model, never code. Nothing here imports
torch.
"""

from dataclasses import dataclass, field
from typing import Any

from calib.config.checks import (
    address,
    at_least_one,
    between,
    environment,
    one_of,
    path,
    positive,
)
from calib.config.choices import DTYPES, QUANTIZATIONS
from calib.util.errors import CalibError

LIMIT_NAMES = ("max_tokens", "max_completion_tokens")
SAMPLING = ("temperature", "top_p", "seed")
_OURS = ("model", "messages", "n", "stream", "stop", *LIMIT_NAMES, *SAMPLING)
"""Parts of a request that other settings decide, or without which a reply could not be read."""


@dataclass
class ModelChoice:
    """What every model has."""

    name: str
    """Name of the model in folder names, tables and figures."""


@dataclass
class RemoteModelConfig(ModelChoice):
    """A chat model behind an endpoint that speaks OpenAI's chat completions."""

    name: str = "remote"
    model: str | None = None
    """Id of the model as its endpoint names it, best one with a date; must be given."""
    base_url: str = "https://api.openai.com/v1"
    """Address of the endpoint."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; servers on this machine need none."""
    limit_name: str = "max_tokens"
    """What the endpoint calls the limit of a response: max_tokens | max_completion_tokens."""
    sends: list[str] = field(default_factory=lambda: list(SAMPLING))
    """Which of temperature, top_p and seed the model takes; [] for those that refuse them."""
    most_temperature: float = 2.0
    """The largest temperature that the endpoint takes."""
    blocks: list[str] = field(default_factory=lambda: ["content_filter", "refusal"])
    """Finish reasons with which the provider, not the model, ended or withheld a response."""
    extra: Any = None
    """What else a request holds, e.g. {reasoning_effort: low}."""
    image_side: int = 1024
    """Pictures are shown with at most this many pixels along their longer side."""
    concurrency: int = 8
    """Requests under way at once."""
    timeout: float = 120.0
    """Seconds after which a request is given up and tried again."""
    retries: int = 5
    """How often a request that failed for a passing reason is tried again."""
    max_requests: int | None = None
    """Stop before one go of the command makes more requests than this; null is no limit."""
    note: str | None = None
    """What a reader must know about the endpoint; said with the results."""

    def __post_init__(self) -> None:
        if self.model is not None and not self.model.strip():
            raise CalibError("model.model: the id is empty. Name a model as its endpoint does.")
        address("model.base_url", self.base_url, "model.key_env")
        environment("model.key_env", self.key_env)
        one_of("model.limit_name", self.limit_name, LIMIT_NAMES)
        for one in self.sends:
            one_of("model.sends", one, SAMPLING)
        between("model.most_temperature", self.most_temperature, 0.0, 100.0)
        if not isinstance(self.extra, dict | None):
            raise CalibError(
                f"model.extra: {self.extra!r} is no table. Give parts of a request by their names: "
                "model.extra={reasoning_effort: low}."
            )
        for name in self.extra or {}:
            if not isinstance(name, str) or name in _OURS:
                raise CalibError(
                    f"model.extra: '{name}' is decided by another setting (model.model, "
                    "model.sends, generation.*), or cannot be chosen. Leave it away."
                )
        at_least_one("model.image_side", self.image_side)
        at_least_one("model.concurrency", self.concurrency)
        positive("model.timeout", self.timeout)
        between("model.retries", self.retries, 0, 100)
        at_least_one("model.max_requests", self.max_requests)


@dataclass
class ModelConfig(ModelChoice):
    """A model whose weights are at hand."""

    checkpoint: str | None = None
    """Hub id or path of the weights; null is the mini-internvl that comes with calib."""
    revision: str | None = None
    """Commit, tag or branch of a hub checkpoint."""
    dtype: str = "float32"
    """float32 | bfloat16 | float16 | auto (as stored). Rows are exactly repeatable in float32."""
    device_map: str | None = None
    """null is one device, a GPU where there is one; auto spreads a large model over all."""
    attention: str = "sdpa"
    """Attention implementation, as transformers names them: sdpa, eager, flash_attention_2."""
    quantization: str | None = None
    """Weights in 4bit or 8bit (bitsandbytes, on a GPU); null is as dtype says."""
    chat_template: str | None = None
    """Chat template (Jinja) in place of the processor's own; models without one need it."""
    tiles: bool = False
    """Cut large pictures into tiles (InternVL's crop_to_patches): more detail, more tokens."""

    def __post_init__(self) -> None:
        one_of("model.dtype", self.dtype, DTYPES)
        if self.quantization is not None:
            one_of("model.quantization", self.quantization, QUANTIZATIONS)
        path("model.checkpoint", self.checkpoint)
