"""One vLLM server: what it serves, whether it can be reached, and requests to it."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from types import ModuleType
from typing import Any

from calib.engine.vllm.request import VllmRequest
from calib.engine.vllm.server.wire import MALFORMED, chat_body, is_large
from calib.models.api_key import ApiKey
from calib.util.errors import CalibError
from calib.util.reply_limit import large_replies, limited_client

IDLE_SECONDS = 5.0
"""A server that had no request for this long may have been restarted unnoticed, and is asked again
what it serves."""
CONNECT_SECONDS = 10.0
"""Longest wait for a connection."""
LIST_SECONDS = 30.0
"""Longest wait for the list of models, which also a busy server returns at once."""
_HELLO = [{"role": "user", "content": "Hello"}]
_CACHE_SETTING = r'^vllm:cache_config_info\{{(?:.*,)?{}="([^"]*)"'
_PREEMPTIONS = r"^vllm:num_preemptions_total(?:\{.*\})? ([0-9.e+]*[0-9])$"


class NoCompletion(Exception):
    """A reply of status 200 that is no chat completion, e.g. a proxy's error page."""


@dataclass(frozen=True)
class Wanted:
    """The model that a run needs."""

    checkpoint: str
    """Source of the run's weights: a hub id, a path or a name."""
    served_model: str | None
    """The setting engine.served_model."""


@dataclass(frozen=True)
class Served:
    """What a server says about itself; all rows of a run come from servers that say the same."""

    model: str
    """Id under which the server lists the model."""
    root: str | None
    """Checkpoint that the server has loaded."""
    version: str | None
    """Version of vLLM; None if the server does not say."""
    max_model_len: int | None
    vllm_lens: bool
    """Whether the server returns activations, as the plugin does."""
    dtype: str | None
    """Type of the residual stream; None without vllm-lens."""
    prefix_caching: str | None
    kv_cache_dtype: str | None
    system_fingerprint: str | None
    """vLLM's version, its parallelism, and a hash of its settings."""

    def differences(self, other: "Served") -> list[str]:
        """Fields in which ``other`` differs, as "field: here -> there". Servers may keep one
        checkpoint in different folders."""
        here, there = asdict(self), asdict(other)
        return [
            f"{name}: {here[name]} -> {there[name]}"
            for name in here
            if _plain(str(here[name])) != _plain(str(there[name]))
        ]


class Replica:
    """Client of one server. All coroutines run in one event loop."""

    def __init__(self, url: str, key: ApiKey, timeout: float, openai: ModuleType) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.served: Served | None = None
        """What the server said when it was last identified; None before."""
        self.is_up = False
        """Whether requests may be sent to it."""
        self.recovery: asyncio.Task[None] | None = None
        """The task that waits until it can be reached again."""
        self.in_flight = 0
        self.last_used = time.monotonic()
        """Time of the last reply."""
        self._openai = openai
        self._client = openai.AsyncOpenAI(
            api_key=key.value or "none",
            base_url=f"{self.url}/v1",
            timeout=openai.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
            max_retries=0,
            # A request contains the data and hooks: it goes to no other address.
            http_client=limited_client(openai, timeout, asynchronous=True),
        )

    @property
    def may_have_restarted(self) -> bool:
        """Whether the server had no request for so long that a restart went unnoticed."""
        return not self.in_flight and time.monotonic() - self.last_used > IDLE_SECONDS

    async def send(self, body: dict[str, Any]) -> dict[str, Any]:
        """The reply to a chat-completions request.

        Raises an error of the openai package or NoCompletion.
        """
        try:
            with large_replies(is_large(body)):
                reply = await self._client.post("/chat/completions", cast_to=object, body=body)
        except ValueError as error:  # invalid JSON
            raise NoCompletion(str(error)) from error
        if not isinstance(reply, dict) or not reply.get("choices"):
            raise NoCompletion("the reply is no chat completion")
        self.last_used = time.monotonic()
        return reply

    async def identify(self, wanted: Wanted) -> Served:
        """Ask the server what it serves.

        Raises CalibError if it does not serve the wanted model, and as ``send`` does if it cannot
        be reached or replies with something else than vLLM.
        """
        try:
            return await self._identify(wanted)
        except MALFORMED as error:
            raise NoCompletion(f"no reply of vLLM: {type(error).__name__}: {error}") from error

    async def _identify(self, wanted: Wanted) -> Served:
        try:
            listed = await asyncio.wait_for(self._get("/v1/models"), LIST_SECONDS)
        except TimeoutError as error:
            raise NoCompletion(f"no reply within {LIST_SECONDS:g} s") from error
        models = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(models, list):
            raise NoCompletion("the server lists no models")
        model = _choose_model(models, wanted, self.url)
        version = await self._get("/version", optional=True)
        metrics = await self._get("/metrics", optional=True)
        # Rather by an answer than by a list of routes: it also shows that the model runs.
        request = VllmRequest(_HELLO, 1, residual_layers=(0,))
        reply = await self.send(chat_body(request, model["id"]))
        returned = reply.get("activations") or {}
        return Served(
            model["id"],
            model.get("root"),
            version.get("version") if isinstance(version, dict) else None,
            model.get("max_model_len"),
            "residual_stream" in returned,
            returned.get("residual_stream", {}).get("original_dtype"),
            _cache_setting(metrics, "enable_prefix_caching"),
            _cache_setting(metrics, "cache_dtype"),
            reply.get("system_fingerprint"),
        )

    async def preemptions(self) -> float:
        """Number of times so far that the server interrupted a request for lack of memory."""
        metrics = await self._get("/metrics", optional=True)
        counts = re.findall(_PREEMPTIONS, metrics, re.M) if isinstance(metrics, str) else []
        return sum(float(count) for count in counts)

    async def _get(self, path: str, optional: bool = False) -> Any:
        """The parsed JSON or the text at ``path``; None if it is ``optional`` and not there."""
        try:
            return await self._client.get(f"{self.url}{path}", cast_to=object)
        except ValueError as error:
            raise NoCompletion(str(error)) from error
        except self._openai.APIStatusError as error:
            if optional and error.status_code in (401, 403, 404, 405):
                return None
            raise

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _choose_model(models: Sequence[Any], wanted: Wanted, url: str) -> dict[str, Any]:
    """The entry of the wanted model in the server's list."""
    named = [m for m in models if isinstance(m, dict) and isinstance(m.get("id"), str)]
    for model in named:
        if wanted.served_model is not None:
            if model["id"] == wanted.served_model:
                return model
        elif _plain(wanted.checkpoint) in (_plain(model["id"]), _plain(model.get("root") or "")):
            return model
    listed = ", ".join(f"'{model['id']}'" for model in named) or "no model"
    if wanted.served_model is not None:
        hint = "Give one of its names with engine.served_model."
        name = wanted.served_model
    else:
        hint = "If it is the same model under another name, give engine.served_model=NAME."
        name = wanted.checkpoint
    raise CalibError("mismatch", f"{url} serves {listed}, but this run needs '{name}'. {hint}")


def _plain(name: str) -> str:
    """The last part of a path or hub id, as names of one checkpoint have in common."""
    return PurePath(name).name.casefold().replace("_", "-")


def _cache_setting(metrics: Any, name: str) -> str | None:
    """A setting of vLLM's cache, from the metrics of its server."""
    found = (
        re.search(_CACHE_SETTING.format(name), metrics, re.M) if isinstance(metrics, str) else None
    )
    return found.group(1) if found else None
