"""Questions to a remote model, through the package openai (extra calib[api]).

Any endpoint that speaks OpenAI's chat completions will do. What failed for a passing reason (too
many requests, a server's error, a timeout, a lost connection) is tried again after a wait; the key
appears in no message and in no reply.
"""

import ipaddress
import os
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from calib.config_judges import LlmJudge
from calib.errors import CalibError
from calib.judges import trouble

OPENAI = "https://api.openai.com/v1"
_SECRET = 12
"""Characters from which on a key is one: shorter ones are placeholders for servers that want none
(EMPTY, none), and may be words that a reply is made of."""

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What an endpoint sent back to one question."""

    text: str
    """What the model wrote; "" where it wrote nothing."""
    held: str = ""
    """Why there is no answer to this question (the provider's filter, a refusal, a prompt that is
    too long); "" where there is one."""
    cut: bool = False
    """Whether it ends because max_tokens were written."""
    model: str = ""
    """The model that answered, as the endpoint calls it: often the id with a date."""


class Halted(Exception):
    """Another question failed for good: this one is not asked any more."""


class Endpoint:
    """The models behind one address. Safe to be asked by several threads at once."""

    def __init__(self, config: LlmJudge) -> None:
        """Raises CalibError where the package or the key is missing; sends nothing yet."""
        self._config = config
        self._openai = _package()
        url = config.base_url or OPENAI
        self._key = _key(config.key_env, url)
        # Its own repetitions would not be counted against the budget.
        self._client = self._openai.OpenAI(
            api_key=self._key or "none", base_url=url, timeout=config.timeout, max_retries=0
        )
        self._lock = threading.Lock()
        self._asked = 0
        self._limits: dict[str, str] = {}
        self._halted = threading.Event()

    @property
    def asked(self) -> int:
        """Requests made so far, repetitions included."""
        return self._asked

    def halt(self) -> None:
        """Let no further request begin; those under way end by themselves."""
        self._halted.set()

    def resume(self) -> None:
        """Take questions again."""
        self._halted.clear()

    def ask(self, model: str, messages: Sequence[Message]) -> Reply:
        """The reply of ``model`` to ``messages``.

        Raises CalibError when the budget is used up, when the endpoint turns the request down, and
        when config.retries repetitions have failed too; Halted after halt().
        """
        tries = 0
        while True:
            try:
                return self._asked_once(model, messages)
            except self._openai.APIError as error:
                if held := trouble.held(error):
                    return Reply("", held)
                if trouble.limit_is_called_otherwise(error) and model not in self._limits:
                    self._limits[model] = "max_completion_tokens"
                    continue
                tries += 1
                passing = trouble.is_passing(error, self._openai)
                wait = trouble.wait(error, tries)
                if (
                    not passing
                    or tries > self._config.retries
                    or wait > trouble.LONGEST_REQUESTED_WAIT
                ):
                    raise CalibError(self._explain(model, error, tries)) from None
            if self._halted.wait(wait):
                raise Halted

    def _asked_once(self, model: str, messages: Sequence[Message]) -> Reply:
        config = self._config
        with self._lock:
            if self._halted.is_set():
                raise Halted
            if config.max_requests is not None and self._asked >= config.max_requests:
                raise CalibError(
                    f"judge.max_requests={config.max_requests} requests have been made. Verdicts "
                    "so far are kept: run the same command again, or with a larger number, to go "
                    "on."
                )
            self._asked += 1
        raw = self._client.chat.completions.with_raw_response.create(
            model=model,
            messages=list(messages),
            temperature=config.temperature,
            **{self._limits.get(model, "max_tokens"): config.max_tokens},
        )
        try:
            return self._read(raw.parse())
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            # A proxy's error page, or half of an answer: what a lost connection may leave, too.
            raise self._openai.APIConnectionError(
                message="the answer is no chat completion", request=raw.http_request
            ) from error

    def _read(self, completion: Any) -> Reply:
        choice = completion.choices[0]
        message, end = choice.message, choice.finish_reason
        text = message.content or ""
        if not isinstance(text, str):
            raise TypeError("content is no text")
        held = ""
        if end == "content_filter":
            held = "content_filter"
        elif refusal := getattr(message, "refusal", None):
            held = f"refusal: {refusal}"
        named = completion.model if isinstance(completion.model, str) else ""
        return Reply(
            self._redacted(text), self._redacted(held), end == "length", self._redacted(named)
        )

    def _explain(self, model: str, error: Exception, tries: int) -> str:
        status = getattr(error, "status_code", None)
        what = f"status {status}" if status else type(error).__name__
        said = self._redacted(" ".join(str(getattr(error, "message", error)).split()))[:300]
        times = f" after {tries} tries" if tries > 1 else ""
        where = self._config.base_url or OPENAI
        return (
            f"judge.models: {model} at {where} gave no answer{times} ({what}: {said}). "
            f"{self._advice(status)} Verdicts so far are kept."
        )

    def _advice(self, status: int | None) -> str:
        if status in (401, 403):
            return f"Check the key in {self._config.key_env}, and what it is allowed to use."
        if status == 404:
            return "Check judge.models and judge.base_url; most addresses end in /v1."
        if status is None or status in trouble.PASSING or status >= 500:
            return (
                "Run the same command again later, or with a smaller judge.concurrency, a larger "
                "judge.timeout or more judge.retries."
            )
        return "Put right what it complains of."

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "***") if len(self._key) >= _SECRET else text


def _package() -> ModuleType:
    try:
        import openai
    except ImportError:
        raise CalibError(
            "A language model judges through the package openai: pip install 'calib[api]'. "
            "Or take a judge that needs none, e.g. judge=string."
        ) from None
    return openai


def _key(variable: str, url: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key and not _is_loopback(url):
        raise CalibError(
            f"The environment variable {variable} (judge.key_env) is not set, and {url} needs a "
            f"key. Set it, e.g. export {variable}=..., or name another with judge.key_env."
        )
    if not (key.isascii() and key.isprintable()):
        raise CalibError(
            f"The environment variable {variable} (judge.key_env) holds characters that no key "
            "has. Set it again."
        )
    return key


def _is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
