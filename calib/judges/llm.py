"""Language models behind an endpoint as judges; several of them vote.

A reply that cannot be read is asked for again, then there is no label: never a default. An empty
response is irrelevant and not sent. Of several models the majority decides.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from typing import Any

from calib.config.judge import LlmJudge
from calib.judges.judge import Judge, JudgeInput, PartialVerdicts, Verdict
from calib.judges.protocols import PROTOCOLS, ModelAnswer, Stage
from calib.judges.reading import quoted, read_answer
from calib.models.endpoint import Aborted, Access, Endpoint, Reply
from calib.models.remote import data_url
from calib.scoring.judged import Label
from calib.util.errors import CalibError


def majority(votes: Sequence[Label | None]) -> Label | None:
    """The label that more than half of the readable votes give; None where there is none.

    A vote is None where the model's reply could not be read. More than half of all models must
    have been read: of three models one alone decides nothing, and of two both must agree.
    """
    read = [vote for vote in votes if vote is not None]
    if 2 * len(read) <= len(votes):
        return None
    label, count = Counter(read).most_common(1)[0]
    return label if 2 * count > len(read) else None


LONGER_SIDE = 1024
"""Pictures are shown with at most this many pixels along their longer side."""


def build(config: LlmJudge) -> Judge:
    """The judge that ``config`` describes; nothing is sent yet.

    Raises CalibError where no model is named, the package openai is missing or the key is.
    """
    if not config.models:
        raise CalibError(
            "judge.models is empty. Name the model that judges as its endpoint calls it, e.g. "
            "judge.models=[gpt-4o-mini], or several that vote."
        )
    access = Access(
        group="judge",
        models="judge.models",
        needed=(
            "A language model judges through the package openai: pip install 'calib[api]'. Or take "
            "a judge that needs none, e.g. judge=string."
        ),
        kept="Verdicts so far are kept.",
        base_url=config.base_url,
        key_env=config.key_env,
        timeout=config.timeout,
        retries=config.retries,
        max_requests=config.max_requests,
    )
    return Models(config, Endpoint(access))


class Models:
    """Asks each model about each response, config.concurrency responses at a time.

    A call returns verdicts in order, or raises Stopped with those that were found before it had
    to stop. Not to be called by two threads at once.
    """

    keeps = True

    def __init__(self, config: LlmJudge, endpoint: Endpoint) -> None:
        self.id = _id(config)
        self._config = config
        self._endpoint = endpoint
        self._protocol = PROTOCOLS[config.protocol]

    def __call__(
        self, said: Sequence[JudgeInput], tell: Callable[[int], None] = lambda n: None
    ) -> list[Verdict]:
        """A verdict on each response, in order; ``tell`` hears of each that is done.

        Raises Stopped when the budget is used up or the endpoint gives no more answers.
        """
        self._endpoint.resume()
        finished: dict[int, Verdict] = {}
        failed: CalibError | None = None
        with ThreadPoolExecutor(self._config.concurrency) as pool:
            places = {
                pool.submit(self._judge_or_halt, one): place for place, one in enumerate(said)
            }
            try:
                for future in as_completed(places):
                    try:
                        finished[places[future]] = future.result()
                    except (Aborted, CancelledError):
                        continue  # not asked any more, because of what failed
                    except CalibError as error:
                        failed = failed or error
                        self._stop(places)
                    else:
                        tell(1)
            except BaseException:
                self._stop(places)  # the pool waits for what is under way before it lets go
                raise
        if failed is not None:
            raise PartialVerdicts(str(failed), dict(sorted(finished.items()))) from None
        return [finished[place] for place in range(len(said))]

    def _stop(self, places: dict[Future[Verdict], int]) -> None:
        self._endpoint.abort()
        for future in places:
            future.cancel()

    def _judge_or_halt(self, one: JudgeInput) -> Verdict:
        try:
            return self._judge(one)
        except CalibError:
            self._endpoint.abort()  # here, before this thread takes the next response
            raise

    def _judge(self, one: JudgeInput) -> Verdict:
        if not one.response.strip():
            return Verdict("irrelevant")
        replies: dict[str, str] = {}
        votes = {model: self._vote(model, one, replies) for model in self._config.models}
        several = len(votes) > 1
        return Verdict(majority(list(votes.values())), replies, votes if several else {})

    def _vote(self, model: str, one: JudgeInput, replies: dict[str, str]) -> Label | None:
        answers: tuple[ModelAnswer, ...] = ()
        for stage in self._protocol.stages:
            answer = self._answer(model, stage, one, replies)
            if answer is None:
                return None
            answers = (*answers, answer)
            label = self._protocol.decide(one.example, answers)
            if label is not None:
                return label
        raise AssertionError("the last stage of a protocol decides")

    def _answer(
        self, model: str, stage: Stage, one: JudgeInput, replies: dict[str, str]
    ) -> ModelAnswer | None:
        messages, sampling = self._messages(stage, one), {"temperature": self._config.temperature}
        for _ in range(self._config.retries + 1):
            reply = self._endpoint.complete(model, messages, self._config.max_tokens, sampling)
            held = reply.blocked or reply.refusal
            answer = None if held else read_answer(reply.text, stage.choices)
            if answer is not None or held:  # what was held back once is held back again
                break
        who = model if reply.model in ("", model) else f"{model} ({reply.model})"
        who = who if len(self._protocol.stages) == 1 else f"{who}, {stage.name}"
        replies[who] = _noted(reply)
        return answer

    def _messages(self, stage: Stage, one: JudgeInput) -> list[dict[str, Any]]:
        text = quoted({**self._protocol.shown(one.example), "response": one.response})
        content: Any = text
        if self._config.image and one.example.picture is not None:
            url = data_url(one.example.picture, LONGER_SIDE)
            picture = {"type": "image_url", "image_url": {"url": url}}
            content = [{"type": "text", "text": text}, picture]
        return [
            {"role": "system", "content": stage.instruction},
            {"role": "user", "content": content},
        ]


def _noted(reply: Reply) -> str:
    """What was said, after notes in square brackets on why it is not all that could be said."""
    refusal = f"refusal: {reply.refusal}" if reply.refusal else ""
    notes = [reply.blocked, refusal, "cut at judge.max_tokens" if reply.truncated else ""]
    return " ".join(
        [*(f"[{note}]" for note in notes if note), *([reply.text] if reply.text else [])]
    )


def _id(config: LlmJudge) -> str:
    stages = PROTOCOLS[config.protocol].stages
    decisive = [
        [[stage.name, stage.instruction, dict(stage.choices)] for stage in stages],
        quoted({"query": "<", "response": "[INST]"}),  # how it is quoted
        float(config.temperature),
        config.max_tokens,
        LONGER_SIDE if config.image else None,
    ]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return f"llm:{'+'.join(config.models)}:{config.protocol}:{digest[:12]}"
