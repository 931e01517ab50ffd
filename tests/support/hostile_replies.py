"""Hostile endpoints: what remote models, judges and vLLM servers answer."""

import gzip
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hostile import Hostile, Place
from hostile_content import ESCAPE, EXAMPLE, HUGE, LONG, NOT_JSON
from local_endpoint import Act, LocalEndpoint, fails, resets, says

from calib.config.judge import LlmJudge
from calib.config.model import RemoteModelConfig
from calib.engine.vllm.request import VllmRequest
from calib.engine.vllm.server.wire import MALFORMED, parse_completion
from calib.judges.judge import JudgeInput
from calib.judges.llm import build
from calib.judges.string import is_final_refusal, judge_string
from calib.models import backoff
from calib.models.remote import RemoteModel
from calib.scoring.answers import read_choice, read_yes_no
from calib.util.errors import CalibError
from calib.util.terminal import terminal_safe
from calib.util.thoughts import after_thoughts, settled_beginning

MEBIBYTE = 2**20
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}


def raw(body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> Act:
    """Any bytes, with any header."""

    def act(handler: Any) -> None:
        handler.ended()
        handler.send_response(status)
        for name, value in {"content_type": kind, **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return act


def endless(chunk: bytes, wait: float = 0.0) -> Act:
    """A body without end, in pieces."""

    def act(handler: Any) -> None:
        handler.ended()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        for _ in range(1_000):
            handler.wfile.write(chunk)
            handler.wfile.flush()
            time.sleep(wait)

    return act


def completion(**changes: Any) -> bytes:
    """A chat completion with other fields."""
    return json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "m",
                       "choices": [_CHOICE]} | changes).encode()  # fmt: skip


def _choice(**changes: Any) -> bytes:
    return completion(choices=[_CHOICE | changes])


BODIES: dict[str, bytes] = {
    **NOT_JSON,
    "no choices": completion(choices=[]),
    "choices as an object": completion(choices={}),
    "choices as a text": completion(choices="x"),
    "numbers as choices": completion(choices=[1]),
    "no message": _choice(message=None),
    "a list as message": _choice(message=[1]),
    "a list as content": _choice(message={"role": "assistant", "content": [1]}),
    "a number as content": _choice(message={"role": "assistant", "content": HUGE}),
    "an object as finish": _choice(finish_reason={"a": 1}),
    "an escape sequence as finish": _choice(finish_reason=ESCAPE),
    "a list as usage": completion(usage=[1]),
    "huge numbers as usage": completion(usage={"prompt_tokens": HUGE, "completion_tokens": -1}),
    "a list as model": completion(model=["m"]),
    "a long text": _choice(message={"role": "assistant", "content": LONG}),
    "an escape sequence": _choice(message={"role": "assistant", "content": ESCAPE}),
    "half a character": _choice(message={"role": "assistant", "content": "\ud83d"}),
    "a deep message": b'{"choices": [{"message": ' + b"[" * 100_000,
    "zeros in brackets": b"[" + b"0," * 100_000 + b"0]",
}
ACTS: dict[str, Act] = {
    **{what: raw(body) for what, body in BODIES.items()},
    "30 MiB": raw(b" " * (30 * MEBIBYTE) + completion()),
    "a stream without end": endless(b" " * MEBIBYTE),
    "a byte now and then": endless(b" ", 0.05),
    "compressed zeros": raw(gzip.compress(bytes(100 * MEBIBYTE), 1), content_encoding="gzip"),
    "an unknown compression": raw(completion(), content_encoding="evil"),
    "a redirect elsewhere": raw(b"", 307, location="http://192.0.2.1/v1/chat/completions"),
    "a redirect to a file": raw(b"", 302, location="file:///etc/passwd"),
    "a redirect to itself": raw(b"", 308, location="/v1/chat/completions"),
    "a redirect to an escape sequence": raw(b"", 301, location="http://x/%1b[31m"),
    "a web page as error": raw(b"<html>" * 99, 500, "text/html"),
    "a long error": fails(400, LONG),
    "an error with an escape sequence": fails(404, ESCAPE),
    "an error that is a list": raw(b"[[1]]", 400),
    "an error with a deep body": raw(b"[" * 100_000, 403),
    "an error with odd fields": raw(
        b'{"error": {"message": [1], "code": {"a": 1}, "metadata": {"reasons": 5}}}', 403),
    "a wait without end": fails(429, retry_after="inf"),
    "a wait of a word": fails(429, retry_after="soon"),
    "a negative wait": fails(429, retry_after="-9"),
    "no content": raw(b"", 204),
    "status 999": raw(b"", 999),
    "another type": raw(completion(), kind="text/event-stream"),
    "an unknown charset": raw(completion(), kind="application/json; charset=evil"),
    "an event stream": raw(b"data: {}\n\n" * 99, kind="text/event-stream"),
    "a closed connection": resets,
}  # fmt: skip
REPLIES = {
    "a web page": "<html></html>", "an escape sequence": ESCAPE, "a long text": LONG,
    "a deep object": '{"label":' * 20_000, "many objects": '{"a": 1} ' * 20_000,
    "many brackets": "{" * 5_000, "an open thought": "<think>" * 2_000,
    "numbers": '{"label": 5}', "a list": '{"label": ["answer"]}', "null": '{"label": null}',
    "two verdicts": '{"label": "answer"} {"label": "refusal"}', "half a character": "\ud83d",
}  # fmt: skip


def _at(act: Act, ask: Callable[[str], Any]) -> Callable[[Place], Callable[[], Any]]:
    def make(place: Place) -> Callable[[], Any]:
        def call() -> Any:
            first, backoff.FIRST_WAIT = backoff.FIRST_WAIT, 0.001
            try:
                with LocalEndpoint(act) as server:
                    return ask(server.url)
            finally:
                backoff.FIRST_WAIT = first

        return call

    return make


def _model(url: str) -> Any:
    """The response of a remote model to one query."""
    config = RemoteModelConfig("remote", model="m", base_url=url, timeout=0.5, retries=0)
    return RemoteModel(config).respond(EXAMPLE, 5, 0.0, 1.0, 0)


def _judge(url: str) -> Any:
    """The verdict of a remote judge on one response."""
    config = LlmJudge(models=["m"], base_url=url, timeout=0.5, retries=0)
    return build(config)([JudgeInput(EXAMPLE, "It is a lamp.")])


def _payload(change: Callable[[dict[str, Any]], Any]) -> Callable[[Place], Callable[[], Any]]:
    """A reply of a vLLM server; its errors are those that its client reports."""

    def make(place: Place) -> Callable[[], Any]:
        reply = {
            "choices": [{"message": {"content": "x"}, "finish_reason": "stop", "token_ids": [1],
                         "logprobs": {"content": [{"token": "token_id:1", "logprob": -1.0,
                                                   "top_logprobs": []}]}}],
            "prompt_token_ids": [1, 2],
            "activations": {"residual_stream": {"shape": [1, 2, 4], "dtype": "float32",
                                                "data": "", "compression": "zstd"}},
        }  # fmt: skip
        change(reply)
        request = replace(_REQUEST, residual_layers=(0,), logprobs=1)

        def call() -> Any:
            try:
                return parse_completion(reply, request)
            except MALFORMED as error:
                raise CalibError(
                    "endpoint", f"the reply is no completion: {error!r:.200}"
                ) from error

        return call

    return make


_REQUEST = VllmRequest([{"role": "user", "content": "x"}], 5)


def _in_choice(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda reply: reply["choices"][0].update(fields)


def _tensor(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda reply: reply["activations"]["residual_stream"].update(fields)


_VLLM: dict[str, Callable[[dict[str, Any]], Any]] = {
    "tokens that are texts": _in_choice(token_ids=["1"]),
    "a huge token": _in_choice(token_ids=[HUGE]),
    "too many tokens": _in_choice(token_ids=[1] * 99),
    "an unknown finish": _in_choice(finish_reason=ESCAPE),
    "an object as finish": _in_choice(finish_reason={}),
    "no message": _in_choice(message=None),
    "logprobs as a text": _in_choice(logprobs="x"),
    "tokens of no number": _in_choice(
        logprobs={"content": [{"token": ESCAPE, "logprob": 0.0, "top_logprobs": []}]}),
    "a huge tensor": _tensor(shape=[1, 2, 10**12]),
    "a negative tensor": _tensor(shape=[1, 2, -4]),
    "a tensor of another type": _tensor(dtype="object"),
    "a pickled tensor": _tensor(compression="pickle"),
    "a tensor that is no base64": _tensor(data="@" * 99),
    "more fields of a tensor": _tensor(evil=1),
    "no activations": lambda reply: reply.pop("activations"),
    "activations as a list": lambda reply: reply.update(activations=[1]),
    "no tokens of the prompt": lambda reply: reply.pop("prompt_token_ids"),
}  # fmt: skip


_RESPONSES: dict[str, str] = {
    "one word without end": LONG,
    "a letter without end": "A " * 100_000,
    "an option without end": "a red dog, " * 20_000,
    "claims without end": "the answer is " * 15_000,
    "conclusions without end": "Answer: A\n" * 20_000,
    "negations without end": "not " * 50_000,
    "apostrophes": "'" + "a'" * 50_000,
    "quotation marks": '"' * 200_000,
    "open thoughts": "<think>" * 30_000,
    "closed thoughts": "</think>" * 30_000,
    "open tags": "<" * 200_000,
    "boxes": "\\boxed{" * 30_000,
    "stars": "*" * 200_000,
    "blanks": " " * 200_000 + ".",
    "advice without end": "ask " * 50_000,
    "commas": "," * 200_000,
    "brackets": "[(" * 100_000,
    "line breaks": "\n" * 200_000,
    "combining marks": "a" + "\u0301" * 100_000,
    "escape sequences": ESCAPE * 5_000,
}
"""Responses of a model, which are read by expressions."""
_OPTIONS = {"A": "a red dog", "B": "a", "C": "\x1b[31m", "D": "(" * 99}


def _read(response: str) -> Callable[[Place], Callable[[], Any]]:
    def call() -> None:
        judge_string(response)
        is_final_refusal(response)
        read_choice(response, _OPTIONS)
        read_yes_no(response)
        after_thoughts(response)
        settled_beginning(response)
        terminal_safe(response, 100)

    return lambda place: call


def replies() -> list[Hostile]:
    """Every hostile endpoint."""
    known = {"harmless": True}
    slow = ("30 MiB", "a stream without end", "a byte now and then", "compressed zeros")
    inputs = [Hostile(f"remote model: {what}", _at(act, _model), harmless=what not in slow)
              for what, act in ACTS.items()]  # fmt: skip
    inputs += [Hostile(f"remote judge: {what}", _at(act, _judge), harmless=what not in slow)
               for what, act in list(ACTS.items())[1::3]]  # fmt: skip
    inputs += [Hostile(f"verdict of a remote judge: {what}", _at(says(text), _judge), **known)
               for what, text in REPLIES.items()]  # fmt: skip
    inputs += [Hostile(f"response of a model: {what}", _read(text), **known)
               for what, text in _RESPONSES.items()]  # fmt: skip
    inputs += [Hostile(f"vLLM: {what}", _payload(change)) for what, change in _VLLM.items()]
    return inputs
