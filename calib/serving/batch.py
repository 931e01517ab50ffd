"""Answer some requests at once: each under its setting, in as many steps as its method takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jinja2 import TemplateError

from calib.data.example import Example
from calib.engine.edits import Edits
from calib.engine.engine import Engine
from calib.engine.request import Request, Response
from calib.interventions.intervention import Setting
from calib.models.prompts import read_prompt, read_prompts
from calib.serving.api_errors import APIError, failed, stopping
from calib.serving.calibrated import Calibrated
from calib.serving.job import Done, Job, Telling
from calib.util.errors import CalibError

CONTEXT = "context_length_exceeded"


@dataclass
class PendingSteps:
    """A request in the steps of its method's dialogue."""

    job: Job
    setting: Setting
    shown: Example
    telling: Telling
    responses: list[Response] = field(default_factory=list)
    prompt_tokens: int = 0

    @property
    def several(self) -> bool:
        dialogue = self.setting.intervention.prompt_flow
        return dialogue is not None and dialogue.multi_step

    def enough(self, text: str) -> bool:
        """Whether this step needs no more tokens. Which step counts is known at the end of a
        dialogue: until then none is streamed, and no stop text ends one."""
        return self.job.cancelled if self.several else self.telling.enough(text)


def answer(
    served: Calibrated, engine: Engine, jobs: Sequence[Job], answered: Callable[[], None]
) -> None:
    """Tell every job what comes of it: pieces, if it streams, and its answer or a refusal.
    ``answered`` is called before the first is told its end.

    Raises whatever fails for all of them; jobs may have been told pieces by then, none its end.
    """
    going = _begun(served, jobs)
    finished: list[tuple[PendingSteps, int]] = []
    refused: list[tuple[Job, APIError]] = []
    while going:
        ready = []
        for one, found in zip(going, _lengths(served, going), strict=True):
            if isinstance(found, APIError):
                refused.append((one.job, found))
            else:
                one.prompt_tokens += found
                ready.append(one)
        edits = _edits(ready)
        asked = [
            Request(one.shown, edits[k], one.job.seed, one.enough) for k, one in enumerate(ready)
        ]
        responses = engine.answer(asked) if asked else []
        going = []
        for one, response in zip(ready, responses, strict=True):
            one.responses.append(response)
            counts = _next(one)
            if counts is None:
                going.append(one)
            else:
                finished.append((one, counts))
    # Ends are told when nothing can fail any more: what fails is tried again, one by one.
    answered()
    for job, refusal in refused:
        job.tell(refusal)
    for one, place in finished:
        _tell_end(one, place)


def _begun(served: Calibrated, jobs: Sequence[Job]) -> list[PendingSteps]:
    """What each request shows first. Requests that look alike show one object: it is read once."""
    shown: dict[tuple[int, str], Example] = {}
    found = []
    for job in jobs:
        setting = served.setting(job.layer, job.strength)
        dialogue = setting.intervention.prompt_flow
        key = id(dialogue), job.conversation.looks
        if key not in shown:
            first = dialogue.next(job.example, ()) if dialogue else job.example
            assert isinstance(first, Example), "a dialogue begins with a question"
            shown[key] = first
        found.append(PendingSteps(job, setting, shown[key], Telling(job)))
    return found


def _lengths(served: Calibrated, going: Sequence[PendingSteps]) -> list[int | APIError]:
    """How many tokens each prompt has; a refusal where the model cannot read it, or where there is
    no room for the answer."""
    shown = {id(one.shown): one.shown for one in going}
    lengths: dict[int, int | APIError] = {}
    try:
        read = read_prompts(served.vlm, list(shown.values()))
        lengths = {key: len(prompt.tokens) for key, prompt in zip(shown, read, strict=True)}
    except Exception:  # One of them is to blame: each is read alone, and that one refused.
        lengths = {key: _length(served, example) for key, example in shown.items()}
    return [_room(served, one.job, lengths[id(one.shown)]) for one in going]


def _length(served: Calibrated, example: Example) -> int | APIError:
    try:
        return len(read_prompt(served.vlm, example).tokens)
    except CalibError as error:
        # A processor's own refusal is behind some of them; the rest are too long.
        code = None if error.__cause__ else CONTEXT
        return APIError(str(error), "messages", code)
    except TemplateError as error:
        said = str(error)[:300]
        return APIError(f"the model's chat template refuses this: {said}", "messages")


def _room(served: Calibrated, job: Job, length: int | APIError) -> int | APIError:
    wanted = job.decoding.max_new_tokens
    if isinstance(length, APIError) or length + wanted <= served.context:
        return length
    return APIError(
        f"the prompt has {length} tokens, and with {wanted} for the answer that is more than the "
        f"model's context of {served.context}. Shorten the messages, or give a smaller max_tokens.",
        "messages",
        CONTEXT,
    )


def _edits(going: Sequence[PendingSteps]) -> list[Edits]:
    """The edits of each request; each setting is asked once for all of its examples."""
    by_setting: dict[int, list[int]] = {}
    for k, one in enumerate(going):
        by_setting.setdefault(id(one.setting), []).append(k)
    found: list[Edits] = [()] * len(going)
    for places in by_setting.values():
        change = going[places[0]].setting.intervention
        for k, edits in zip(
            places, change.edits_for([going[k].shown for k in places]), strict=True
        ):
            found[k] = edits
    return found


def _next(one: PendingSteps) -> int | None:
    """Which response counts; None where there is more to ask, which is then shown."""
    if not one.several or one.job.cancelled:
        return len(one.responses) - 1
    dialogue = one.setting.intervention.prompt_flow
    assert dialogue is not None
    step = dialogue.next(one.job.example, [response.text for response in one.responses])
    if isinstance(step, int):
        return step
    one.shown = step
    return None


def _tell_end(one: PendingSteps, place: int) -> None:
    response = one.responses[place]
    if one.job.cancelled:  # half an answer is none
        one.job.tell(stopping())
        return
    if response.finish == "not_finite":
        one.job.tell(
            APIError(
                f"the model's output is not finite at strength {one.job.strength:g}. Give a "
                "smaller one.",
                "calib.strength",
                "not_finite",
            )
        )
        return
    try:
        text = one.telling.end(response.text)
    except ValueError as error:
        one.job.tell(failed(f"{error}. Ask without stream."))
        return
    cut = len(text) < len(response.text)
    finish = "length" if response.finish == "length" and not cut else "stop"
    tokens = sum(len(step.tokens) for step in one.responses)
    one.job.tell(Done(text, finish, one.prompt_tokens, tokens))
