"""Questions to models behind an endpoint, through the package openai (extra calib[api]).

Any endpoint that speaks OpenAI's chat completions will do. What failed for a passing reason (too
many requests, a server's error, a timeout, a lost connection) is tried again after a wait; the key
appears in no message and in no reply.
"""

import ipaddress
import os
import threading
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from calib.models import backoff
from calib.util.errors import CalibError

OPENAI = "https://api.openai.com/v1"
_SECRET = 12
"""Characters from which on a key is one: shorter ones are placeholders for servers that want none
(EMPTY, none), and may be words that a reply is made of."""

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Access:
    """How an endpoint is reached, and how messages name what is wrong with it."""

    group: str
    """The config group of the settings below, which messages name: judge or model."""
    models: str
    """The setting that names the models: judge.models."""
    needed: str
    """Who needs the package openai, and what to take where it is missing."""
    kept: str
    """What is not lost when there is no answer: "Verdicts so far are kept."."""
    base_url: str | None = None
    """None is OpenAI's own."""
    key_env: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    retries: int = 3
    max_requests: int | None = None
    limit_name: str = "max_tokens"
    """What the limit of a reply is called, until a model wants it called max_completion_tokens."""
    blocks: Sequence[str] = ("content_filter",)
    """Finish reasons of a reply that the provider withheld."""
    hint: str = ""
    """What may help with a request that is turned down."""

    @property
    def url(self) -> str:
        return self.base_url or OPENAI


@dataclass(frozen=True)
class Reply:
    """What an endpoint sent back to one question."""

    text: str
    """What the model wrote; "" where it wrote nothing."""
    blocked: str = ""
    """Why there is no answer to this question (the provider's filter, a prompt that is too long);
    "" where there is one."""
    truncated: bool = False
    """Whether it ends because the limit of tokens was reached."""
    model: str = ""
    """The model that answered, as the endpoint calls it: often the id with a date."""
    refusal: str = ""
    """The model's own refusal, where it stands apart from its text."""
    prompt_tokens: int | None = field(default=None, compare=False)
    tokens: int | None = field(default=None, compare=False)
    """Generated ones, those of hidden thoughts included; None where the endpoint says nothing."""
    seconds: float = field(default=0.0, compare=False)
    """How long the request took that was answered."""


class Aborted(Exception):
    """Another question failed for good: this one is not asked any more."""


class Endpoint:
    """The models behind one address. Safe to be asked by several threads at once."""

    def __init__(self, access: Access) -> None:
        """Raises CalibError where the package or the key is missing; sends nothing yet."""
        self._access = access
        self._openai = _package(access.needed)
        self._key = _key(access)
        # Its own repetitions would not be counted against the budget.
        self._client = self._openai.OpenAI(
            api_key=self._key or "none",
            base_url=access.url,
            timeout=access.timeout,
            max_retries=0,
        )
        self._lock = threading.Lock()
        self._asked = 0
        self._limits: dict[str, str] = {}
        self._halted = threading.Event()

    @property
    def requests_sent(self) -> int:
        """Requests made so far, repetitions included."""
        return self._asked

    def abort(self) -> None:
        """Let no further request begin; those under way end by themselves."""
        self._halted.set()

    def resume(self) -> None:
        """Take questions again."""
        self._halted.clear()

    def contains_key(self, text: str) -> bool:
        """Whether the key stands in a text."""
        return len(self._key) >= _SECRET and self._key in text

    def complete(
        self, model: str, messages: Sequence[Message], limit: int, settings: Mapping[str, Any]
    ) -> Reply:
        """The reply of ``model`` to ``messages``, of at most ``limit`` tokens; ``settings`` are
        further parts of the request.

        Raises CalibError when the budget is used up, when the endpoint turns the request down, and
        when the repetitions have failed too; Halted after halt().
        """
        tries = 0
        while True:
            try:
                return self._asked_once(model, messages, limit, settings)
            except self._openai.APIError as error:
                if held := backoff.rate_limited(error):
                    return Reply("", self._redacted(held))
                if backoff.limit_is_called_otherwise(error) and model not in self._limits:
                    self._limits[model] = "max_completion_tokens"
                    continue
                tries += 1
                passing = backoff.is_passing(error, self._openai)
                wait = backoff.backoff(error, tries)
                if (
                    not passing
                    or tries > self._access.retries
                    or wait > backoff.LONGEST_REQUESTED_WAIT
                ):
                    raise CalibError(self._explain(model, error, tries)) from None
            if self._halted.wait(wait):
                raise Aborted

    def _asked_once(
        self, model: str, messages: Sequence[Message], limit: int, settings: Mapping[str, Any]
    ) -> Reply:
        access = self._access
        with self._lock:
            if self._halted.is_set():
                raise Aborted
            if access.max_requests is not None and self._asked >= access.max_requests:
                raise CalibError(
                    f"{access.group}.max_requests={access.max_requests} requests have been made. "
                    f"{access.kept} Run the same command again, or with a larger number, to go on."
                )
            self._asked += 1
        begun = time.monotonic()
        limited = {self._limits.get(model, access.limit_name): limit}
        raw = self._client.chat.completions.with_raw_response.create(
            model=model, messages=list(messages), extra_body={**limited, **settings}
        )
        try:
            return self._read(raw.parse(), time.monotonic() - begun)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            # A proxy's error page, or half of an answer: what a lost connection may leave, too.
            raise self._openai.APIConnectionError(
                message="the answer is no chat completion", request=raw.http_request
            ) from error

    def _read(self, completion: Any, seconds: float) -> Reply:
        choice = completion.choices[0]
        message, end = choice.message, str(choice.finish_reason)
        text = message.content or ""
        if not isinstance(text, str):
            raise TypeError("content is no text")
        if end == "error":  # a router's word for a model that failed underway
            raise ValueError("the model failed")
        # Some say more behind it: "content_filter: RECITATION".
        blocked = end.partition(":")[0].casefold() in map(str.casefold, self._access.blocks)
        usage = completion.usage
        return Reply(
            self._redacted(text),
            self._redacted(end) if blocked else "",
            end == "length",
            self._redacted(completion.model) if isinstance(completion.model, str) else "",
            self._redacted(str(getattr(message, "refusal", None) or "")),
            _count(usage, "prompt_tokens"),
            _count(usage, "completion_tokens"),
            seconds,
        )

    def _explain(self, model: str, error: Exception, tries: int) -> str:
        access = self._access
        status = getattr(error, "status_code", None)
        what = f"status {status}" if status else type(error).__name__
        said = self._redacted(" ".join(str(getattr(error, "message", error)).split()))[:300]
        times = f" after {tries} tries" if tries > 1 else ""
        return (
            f"{access.models}: {model} at {access.url} gave no answer{times} ({what}: {said}). "
            f"{self._advice(status)} {access.kept}"
        )

    def _advice(self, status: int | None) -> str:
        access = self._access
        if status in (401, 403):
            return f"Check the key in {access.key_env}, and what it is allowed to use."
        if status == 404:
            return f"Check {access.models} and {access.group}.base_url; most addresses end in /v1."
        if status is None or status in backoff.PASSING or status >= 500:
            return (
                f"Run the same command again later, or with a smaller {access.group}.concurrency, "
                f"a larger {access.group}.timeout or more {access.group}.retries."
            )
        return f"Put right what it complains of. {access.hint}".rstrip()

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "***") if len(self._key) >= _SECRET else text


def _count(usage: Any, name: str) -> int | None:
    found = getattr(usage, name, None)
    return found if isinstance(found, int) else None


def _package(needed: str) -> ModuleType:
    try:
        import openai
    except ImportError:
        raise CalibError(needed) from None
    return openai


def _key(access: Access) -> str:
    variable, setting = access.key_env, f"{access.group}.key_env"
    key = os.environ.get(variable, "").strip()
    if not key and not _is_loopback(access.url):
        raise CalibError(
            f"The environment variable {variable} ({setting}) is not set, and {access.url} needs a "
            f"key. Set it, e.g. export {variable}=..., or name another with {setting}."
        )
    if not (key.isascii() and key.isprintable()):
        raise CalibError(
            f"The environment variable {variable} ({setting}) holds characters that no key has. "
            "Set it again."
        )
    return key


def _is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
