"""Language models behind an endpoint as judges; several models vote.

A reply that cannot be read is requested again (judge.retries); after that the response has no
label, never a default. The thoughts of a reasoning model are not sent. An empty response is
irrelevant and is not sent; a response whose thought was cut off has no label and is not sent.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from typing import Any

from calib.config.choices import Label
from calib.config.judge import LlmJudge
from calib.judges.judge import CUT_OFF, Judge, JudgeInput, PartialVerdicts, Report, Verdict
from calib.judges.protocols import PROTOCOLS, ModelAnswer, Stage, quoted, read_answer
from calib.models.endpoint import Aborted, Access, Endpoint, Reply
from calib.models.remote import image_part
from calib.util.errors import CalibError


def majority(votes: Sequence[Label | None]) -> Label | None:
    """Return the label of more than half of the readable votes, or None without such a majority.

    A vote is None if the model's reply could not be read. The replies of more than half of the
    models must be readable: one vote of three decides nothing, and two models must agree.
    """
    readable = [vote for vote in votes if vote is not None]
    if 2 * len(readable) <= len(votes):
        return None
    label, count = Counter(readable).most_common(1)[0]
    return label if 2 * count > len(readable) else None


LONGER_SIDE = 1024
"""Pictures are downscaled to at most this many pixels along their longer side."""


def build(config: LlmJudge) -> Judge:
    """Return the judge without sending a request.

    Raises CalibError if no model is named, if the package openai is not installed, and if the API
    key is missing.
    """
    if not config.models:
        raise CalibError(
            "missing-setting",
            "judge.models is empty. Give the endpoint's name of the model that judges, e.g. "
            "judge.models=[gpt-4o-mini], or of several models that vote.",
        )
    access = Access(
        config_group="judge",
        model_setting="judge.models",
        package_hint=(
            "judge=llm needs the package openai: pip install 'calib[api]'. Or use a judge that "
            "needs no endpoint, e.g. judge=string."
        ),
        saved_note="Verdicts so far are saved.",
        base_url=config.base_url,
        key_env=config.key_env,
        timeout=config.timeout,
        retries=config.retries,
        max_requests=config.max_requests,
    )
    return LanguageModels(config, Endpoint(access))


class LanguageModels:
    """A judge that sends each response to each model, ``config.concurrency`` responses at a time.

    Not thread-safe.
    """

    costly = True

    def __init__(self, config: LlmJudge, endpoint: Endpoint) -> None:
        self.id = _id(config)
        self._config = config
        self._endpoint = endpoint
        self._protocol = PROTOCOLS[config.protocol]

    def __call__(
        self, inputs: Sequence[JudgeInput], report: Report = lambda n: None
    ) -> list[Verdict]:
        """Return a verdict on each response, in order; call ``report`` after each response.

        Raises PartialVerdicts when the budget is used up or the endpoint stops answering.
        """
        self._endpoint.resume()
        finished: dict[int, Verdict] = {}
        failed: CalibError | None = None
        with ThreadPoolExecutor(self._config.concurrency) as pool:
            indices = {
                pool.submit(self._judge_or_abort, judge_input): index
                for index, judge_input in enumerate(inputs)
            }
            try:
                for future in as_completed(indices):
                    try:
                        finished[indices[future]] = future.result()
                    except (Aborted, CancelledError):
                        continue  # not sent, because another request failed
                    except CalibError as error:
                        failed = failed or error
                        self._stop(indices)
                    else:
                        report(1)
            except BaseException:
                self._stop(indices)  # the pool waits for running requests before it shuts down
                raise
        if failed is not None:
            stopped = PartialVerdicts(failed.code, failed.message, dict(sorted(finished.items())))
            raise stopped from None
        return [finished[index] for index in range(len(inputs))]

    def _stop(self, futures: Iterable[Future[Verdict]]) -> None:
        self._endpoint.abort()
        for future in futures:
            future.cancel()

    def _judge_or_abort(self, judge_input: JudgeInput) -> Verdict:
        try:
            return self._judge(judge_input)
        except CalibError:
            self._endpoint.abort()  # before this thread takes the next response
            raise

    def _judge(self, judge_input: JudgeInput) -> Verdict:
        visible = judge_input.without_thoughts()
        if visible is None:
            return Verdict(None, {"response": CUT_OFF})
        judge_input = visible
        if not judge_input.response.strip():
            return Verdict("irrelevant")
        replies: dict[str, str] = {}
        votes = {model: self._vote(model, judge_input, replies) for model in self._config.models}
        return Verdict(majority(list(votes.values())), replies, votes if len(votes) > 1 else {})

    def _vote(self, model: str, judge_input: JudgeInput, replies: dict[str, str]) -> Label | None:
        answers: tuple[ModelAnswer, ...] = ()
        for stage in self._protocol.stages:
            answer = self._answer(model, stage, judge_input, replies)
            if answer is None:
                return None
            answers = (*answers, answer)
            label = self._protocol.decide(judge_input.example, answers)
            if label is not None:
                return label
        raise AssertionError("the last stage of a protocol decides")

    def _answer(
        self, model: str, stage: Stage, judge_input: JudgeInput, replies: dict[str, str]
    ) -> ModelAnswer | None:
        messages = self._messages(stage, judge_input)
        settings: dict[str, Any] = {"temperature": self._config.temperature}
        if self._config.chat_template_kwargs:
            settings["chat_template_kwargs"] = self._config.chat_template_kwargs
        for _ in range(self._config.retries + 1):
            reply = self._endpoint.complete(model, messages, self._config.max_tokens, settings)
            _require_instruction(reply, model, messages)
            blocked = reply.blocked or reply.refusal
            answer = None if blocked else read_answer(reply.text, stage.choices)
            if answer is not None or blocked:  # a provider that blocks a reply once blocks it again
                break
        name = model if reply.model in ("", model) else f"{model} ({reply.model})"
        name = name if len(self._protocol.stages) == 1 else f"{name}, {stage.name}"
        replies[name] = _with_notes(reply)
        return answer

    def _messages(self, stage: Stage, judge_input: JudgeInput) -> list[dict[str, Any]]:
        example = judge_input.example
        text = quoted({**self._protocol.shown(example), "response": judge_input.response})
        content: Any = text
        if self._config.image and example.pictures:
            images = [image_part(picture, LONGER_SIDE) for picture in example.pictures]
            content = [{"type": "text", "text": text}, *images]
        if self._config.system_place == "user":
            instruction = f"{stage.instruction}\n\n"
            if isinstance(content, str):
                return [{"role": "user", "content": instruction + content}]
            return [{"role": "user", "content": [{"type": "text", "text": instruction}, *content]}]
        return [
            {"role": "system", "content": stage.instruction},
            {"role": "user", "content": content},
        ]


def _require_instruction(reply: Reply, model: str, messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise CalibError (unsupported) if the endpoint's count of prompt tokens shows that a system
    message was left out: a text has at least as many tokens as words."""
    instruction, judged = messages[0]["content"], messages[-1]["content"]
    if len(messages) < 2 or not isinstance(judged, str) or reply.prompt_tokens is None:
        return
    words = len(instruction.split())
    # A count below that of the user's words is no count of this prompt.
    if len(judged.split()) <= reply.prompt_tokens < words:
        raise CalibError(
            "unsupported",
            f"judge.models: the endpoint counts {reply.prompt_tokens} prompt tokens for {model}, "
            f"fewer than the {words} words of the judge's instruction. Its chat template leaves "
            "out system messages. Give judge.system_place=user, which puts the instruction into "
            "the user's message.",
        )


def _with_notes(reply: Reply) -> str:
    """The reply's text after notes in square brackets on why it is incomplete."""
    refusal = f"refusal: {reply.refusal}" if reply.refusal else ""
    notes = [reply.blocked, refusal, "cut at judge.max_tokens" if reply.truncated else ""]
    return " ".join(
        [*(f"[{note}]" for note in notes if note), *([reply.text] if reply.text else [])]
    )


def _id(config: LlmJudge) -> str:
    stages = PROTOCOLS[config.protocol].stages
    hashed = [
        [[stage.name, stage.instruction, dict(stage.choices)] for stage in stages],
        quoted({"query": "<", "response": "[INST]"}),  # covers the quoting rules
        float(config.temperature),
        config.max_tokens,
        LONGER_SIDE if config.image else None,
    ]
    # Left out where unset: verdicts of earlier runs stay valid.
    hashed += [config.chat_template_kwargs] if config.chat_template_kwargs else []
    hashed += [config.system_place] if config.system_place != "template" else []
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()
    return f"llm:{'+'.join(config.models)}:{config.protocol}:{digest[:12]}"
