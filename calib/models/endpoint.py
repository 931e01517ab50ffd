"""Client for chat completions through the openai package (extra calib[api]).

Works with any endpoint that speaks OpenAI's chat completions. Requests that fail for a transient
reason (rate limits, server errors, timeouts, lost connections) are retried after a wait. The key is
removed from every message and reply.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from calib.models import backoff
from calib.models.api_key import require_key
from calib.util.errors import CalibError
from calib.util.reply_limit import limited_client

OPENAI = "https://api.openai.com/v1"

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Access:
    """Settings of an endpoint, and the names that error messages use for them."""

    config_group: str
    """Config group of the settings below, as error messages name it: judge or model."""
    model_setting: str
    """Setting that names the models, e.g. judge.models."""
    package_hint: str
    """Error message if the openai package is missing."""
    saved_note: str
    """Sentence on what is already saved when a request fails."""
    base_url: str | None = None
    """None means OpenAI's own address."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key."""
    timeout: float = 60.0
    """Seconds per request."""
    retries: int = 3
    max_requests: int | None = None
    """Budget: requests including retries. None means unlimited."""
    limit_name: str = "max_tokens"
    """Name of the response-length parameter. If a model asks for max_completion_tokens instead, the
    client switches for that model."""
    blocks: Sequence[str] = ("content_filter",)
    """Finish reasons that mean the provider withheld the reply."""
    rejection_hint: str = ""
    """Advice appended to the error for a rejected request."""

    @property
    def url(self) -> str:
        """The address that requests are sent to."""
        return self.base_url or OPENAI


@dataclass(frozen=True)
class Reply:
    """An endpoint's reply to one request."""

    text: str
    """The generated text; may be empty."""
    blocked: str = ""
    """Reason if the provider withheld the reply (content filter, prompt too long), else ""."""
    truncated: bool = False
    """Whether the reply ended at the token limit."""
    model: str = ""
    """Model id that the endpoint reports, often with a date."""
    refusal: str = ""
    """The model's own refusal if the endpoint reports it separately from the text."""
    prompt_tokens: int | None = field(default=None, compare=False)
    """None if the endpoint does not report it."""
    tokens: int | None = field(default=None, compare=False)
    """Generated tokens including hidden reasoning; None if the endpoint does not report them."""
    seconds: float = field(default=0.0, compare=False)
    """Duration of the successful request."""


class Aborted(Exception):
    """Raised in waiting requests after another request failed for good."""


class Endpoint:
    """Client for all models at one address. Thread-safe."""

    def __init__(self, access: Access) -> None:
        """Create the client without sending a request.

        Raises CalibError if the openai package or the key is missing.
        """
        self._access = access
        self._openai = import_openai(access.package_hint)
        self._key = require_key(access.key_env, f"{access.config_group}.key_env", access.url)
        # Retries by the package itself would not count against the budget.
        self._client = self._openai.OpenAI(
            api_key=self._key.value or "none",
            base_url=access.url,
            timeout=access.timeout,
            max_retries=0,
            http_client=limited_client(self._openai, access.timeout),
        )
        self._lock = threading.Lock()
        self._requests_sent = 0
        self._limit_names: dict[str, str] = {}
        self._aborted = threading.Event()

    @property
    def requests_sent(self) -> int:
        """Number of requests so far, including retries."""
        return self._requests_sent

    def abort(self) -> None:
        """Start no further requests; requests in flight finish normally."""
        self._aborted.set()

    def resume(self) -> None:
        """Accept requests again after abort()."""
        self._aborted.clear()

    def contains_key(self, text: str) -> bool:
        """Whether the API key occurs in ``text``."""
        return self._key.is_in(text)

    def complete(
        self, model: str, messages: Sequence[Message], limit: int, settings: Mapping[str, Any]
    ) -> Reply:
        """Reply of ``model`` to ``messages`` in at most ``limit`` tokens.

        ``settings`` are further fields of the request body.

        Raises CalibError if the budget is used up, the endpoint rejects the request, or all retries
        fail, and Aborted after abort().
        """
        tries = 0
        while True:
            try:
                return self._complete_once(model, messages, limit, settings)
            except self._openai.APIError as error:
                if reason := backoff.blocked_reason(error):
                    return Reply("", self._redact(reason))
                switches = backoff.wants_max_completion_tokens(error)
                if switches and model not in self._limit_names:
                    self._limit_names[model] = "max_completion_tokens"
                    continue
                tries += 1
                wait = backoff.backoff(error, tries)
                retries = (
                    backoff.is_transient(error, self._openai)
                    and tries <= self._access.retries
                    and wait <= backoff.LONGEST_REQUESTED_WAIT
                )
                if not retries:
                    raise CalibError("endpoint", self._explain(model, error, tries)) from None
            if self._aborted.wait(wait):
                raise Aborted

    def _complete_once(
        self, model: str, messages: Sequence[Message], limit: int, settings: Mapping[str, Any]
    ) -> Reply:
        access = self._access
        with self._lock:
            if self._aborted.is_set():
                raise Aborted
            if access.max_requests is not None and self._requests_sent >= access.max_requests:
                raise CalibError(
                    "endpoint",
                    f"The budget of {access.config_group}.max_requests={access.max_requests} "
                    f"requests is used up. {access.saved_note} Run the same command again to send "
                    "as many more, or raise the number.",
                )
            self._requests_sent += 1
        start = time.monotonic()
        body = {self._limit_names.get(model, access.limit_name): limit, **settings}
        raw = self._client.chat.completions.with_raw_response.create(
            model=model, messages=list(messages), extra_body=body
        )
        try:
            return self._parse(raw.parse(), time.monotonic() - start)
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            # A proxy's error page or a truncated body: retried like a lost connection.
            raise self._openai.APIConnectionError(
                message="the response is not a chat completion", request=raw.http_request
            ) from error

    def _parse(self, completion: Any, seconds: float) -> Reply:
        choice = completion.choices[0]
        message, finish = choice.message, str(choice.finish_reason)
        text = message.content or ""
        if not isinstance(text, str):
            raise TypeError("content is not text")
        if finish == "error":  # OpenRouter, when the model failed during generation
            raise ValueError("the model failed")
        # Some providers append details: "content_filter: RECITATION".
        blocked = finish.partition(":")[0].casefold() in map(str.casefold, self._access.blocks)
        usage = completion.usage
        return Reply(
            self._redact(text),
            self._redact(finish) if blocked else "",
            finish == "length",
            self._redact(completion.model) if isinstance(completion.model, str) else "",
            self._redact(str(getattr(message, "refusal", None) or "")),
            _count(usage, "prompt_tokens"),
            _count(usage, "completion_tokens"),
            seconds,
        )

    def _explain(self, model: str, error: Exception, tries: int) -> str:
        access = self._access
        status = getattr(error, "status_code", None)
        kind = f"status {status}" if status else type(error).__name__
        said = [backoff.server_message(error), *([str(error.__cause__)] if error.__cause__ else [])]
        details = self._redact(": ".join(text.rstrip(".") for text in said if text))[:300]
        response = getattr(error, "response", None)
        location = response.headers.get("location", "") if response is not None else ""
        times = f" after {tries} tries" if tries > 1 else ""
        return (
            f"{access.model_setting}: the request to {model} at {access.url} failed{times} "
            f"({kind}: {details}). {self._advice(status, location)} {access.saved_note}"
        )

    def _advice(self, status: int | None, location: str) -> str:
        access = self._access
        if status is not None and 300 <= status < 400:
            return (
                f"The endpoint redirects to {self._redact(location)[:200]!r}. calib follows no "
                "redirect, because a request contains your data. If you trust that address, give "
                f"it as {access.config_group}.base_url."
            )
        if status in (401, 403):
            return f"Check the key in {access.key_env} and its permissions."
        if status == 404:
            return (
                f"Check {access.model_setting} and {access.config_group}.base_url; most addresses "
                "end in /v1."
            )
        if status is None or status in backoff.TRANSIENT_STATUSES or status >= 500:
            return (
                f"Run the same command again later, or with a smaller "
                f"{access.config_group}.concurrency, a larger {access.config_group}.timeout or "
                f"more {access.config_group}.retries."
            )
        return f"Correct the request. {access.rejection_hint}".rstrip()

    def _redact(self, text: str) -> str:
        return self._key.redact(text)


def _count(usage: Any, name: str) -> int | None:
    count = getattr(usage, name, None)
    return count if type(count) is int and 0 <= count < 2**31 else None


def import_openai(hint: str) -> ModuleType:
    """The openai package. Raises CalibError with ``hint`` if it is missing."""
    try:
        import openai
    except ImportError:
        raise CalibError("needs-package", hint) from None
    return openai
