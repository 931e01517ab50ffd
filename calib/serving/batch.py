"""Answer a batch of jobs: each with its own setting, in as many steps as its method takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import TemplateError

from calib.data.example import Example
from calib.directions.token_projections import TokenProjections, read_token_projections
from calib.engine.edits import Edits
from calib.engine.engine import Engine
from calib.engine.request import Request, Response
from calib.engine.response_activations import read_response_activations
from calib.engine.vllm.server.tensors import encode_tensor
from calib.interventions.intervention import Setting
from calib.models.prompts import read_prompt, read_prompts
from calib.serving.api_errors import APIError, server_error, unavailable
from calib.serving.job import Finished, Job, ResponseTracker
from calib.serving.served_model import PROJECTIONS, ServedModel
from calib.serving.steering_vectors import FIELD, MAX_ACTIVATION_BYTES, RESIDUAL
from calib.util.errors import CalibError
from calib.util.thoughts import final_answer

CONTEXT_EXCEEDED = "context_length_exceeded"


@dataclass(frozen=True)
class Readings:
    """What is read of a response besides its text; None if the request does not ask for it."""

    activations: dict[str, Any] | None = None
    """The residual stream, encoded."""
    projections: TokenProjections | None = None


@dataclass
class PendingSteps:
    """A job with the steps of its prompt flow that are done, and the prompt of the next one."""

    job: Job
    setting: Setting
    prompt: Example
    tracker: ResponseTracker
    prompts: list[list[int]] = field(default_factory=list)
    """Tokens of the prompts so far, and of the next one."""
    requests: list[Request] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    vectors: Edits = ()
    """The request's own steering vectors, for the prompt of this step."""

    @property
    def multi_step(self) -> bool:
        flow = self.setting.intervention.prompt_flow
        return flow is not None and flow.multi_step

    def needs_no_more(self, text: str) -> bool:
        """Whether the response of this step needs no more tokens.

        In a flow of several steps the final response is known only at the end, so no step is
        streamed and no stop sequence ends a step.
        """
        return self.job.cancelled if self.multi_step else self.tracker.update(text)

    def advance(self) -> int | None:
        """Index of the final response among ``responses``; None sets the prompt of another step."""
        if not self.multi_step or self.job.cancelled:
            return len(self.responses) - 1
        flow = self.setting.intervention.prompt_flow
        assert flow is not None
        answers = [final_answer(response.text) for response in self.responses]
        step = flow.next(self.job.example, answers)
        if isinstance(step, int):
            return step
        self.prompt = step
        return None


def answer_batch(
    served: ServedModel, engine: Engine, jobs: Sequence[Job], on_success: Callable[[], None]
) -> None:
    """Send each job its events: text deltas if it streams, then its response or an error.

    ``on_success`` is called before the first job gets its response. Raises any error that concerns
    the whole batch; by then jobs may have received text deltas, but no final event.
    """
    pending = _first_steps(served, jobs)
    finished: list[tuple[PendingSteps, int]] = []
    errors: list[tuple[Job, APIError]] = []
    while pending:
        ready = []
        for steps, tokens in zip(pending, _prompt_tokens(served, pending), strict=True):
            try:
                if isinstance(tokens, APIError):
                    raise tokens
                steps.vectors = _steering_edits(steps, len(tokens))
                _check_activations(served, steps.job, len(tokens))
            except APIError as refusal:
                errors.append((steps.job, refusal))
            else:
                steps.prompts.append(tokens)
                ready.append(steps)
        for steps, edits in zip(ready, _edits(ready), strict=True):
            steps.requests.append(Request(steps.prompt, edits, steps.job.seed, steps.needs_no_more))
        responses = engine.answer([steps.requests[-1] for steps in ready]) if ready else []
        pending = []
        for steps, response in zip(ready, responses, strict=True):
            steps.responses.append(response)
            final = steps.advance()
            if final is None:
                pending.append(steps)
            else:
                finished.append((steps, final))
    readings = [_readings(served, steps, final) for steps, final in finished]
    # Final events are sent once nothing can fail any more, because failed batches are retried.
    on_success()
    for job, error in errors:
        job.send(error)
    for (steps, final), reading in zip(finished, readings, strict=True):
        steps.job.send(_final_event(steps, final, reading))


def _first_steps(served: ServedModel, jobs: Sequence[Job]) -> list[PendingSteps]:
    """The first step of each job. Jobs with equal prompts share one example, which is read once."""
    prompts: dict[tuple[int, str], Example] = {}
    first_steps = []
    for job in jobs:
        setting = (job.served or served).setting(job.layer, job.strength)
        flow = setting.intervention.prompt_flow
        key = id(flow), job.conversation.prompt_hash
        if key not in prompts:
            prompt = flow.next(job.example, ()) if flow else job.example
            assert isinstance(prompt, Example), "a prompt flow begins with a prompt"
            prompts[key] = prompt
        first_steps.append(PendingSteps(job, setting, prompts[key], ResponseTracker(job)))
    return first_steps


def _prompt_tokens(
    served: ServedModel, pending: Sequence[PendingSteps]
) -> list[list[int] | APIError]:
    """The tokens of each prompt; an error if the model cannot read it, or if its context has
    no room for the response."""
    prompts = {id(steps.prompt): steps.prompt for steps in pending}
    tokens: dict[int, list[int] | APIError] = {}
    try:
        tokenized = read_prompts(served.vlm, list(prompts.values()))
        tokens = {key: read.tokens.tolist() for key, read in zip(prompts, tokenized, strict=True)}
    except Exception:  # One prompt is at fault: read each alone to find it.
        tokens = {key: _tokens_of(served, prompt) for key, prompt in prompts.items()}
    return [_check_context(served, steps.job, tokens[id(steps.prompt)]) for steps in pending]


def _tokens_of(served: ServedModel, prompt: Example) -> list[int] | APIError:
    try:
        return read_prompt(served.vlm, prompt).tokens.tolist()
    except CalibError as error:
        code = CONTEXT_EXCEEDED if error.code == "too-large" else None
        return APIError(str(error), "messages", code)
    except TemplateError as error:
        reason = str(error)[:300]
        return APIError(f"The model's chat template refuses the messages: {reason}", "messages")


def _check_context(
    served: ServedModel, job: Job, tokens: list[int] | APIError
) -> list[int] | APIError:
    max_new_tokens = job.decoding.max_new_tokens
    if isinstance(tokens, APIError) or len(tokens) + max_new_tokens <= served.context_length:
        return tokens
    return APIError(
        f"The prompt has {len(tokens)} tokens and the response may have {max_new_tokens}, but the "
        f"model's context has {served.context_length}. Shorten the messages, or set a smaller "
        "max_tokens.",
        "messages",
        CONTEXT_EXCEEDED,
    )


def _steering_edits(steps: PendingSteps, prompt_length: int) -> Edits:
    """The edits of the request's steering vectors in a prompt of this length.

    Raises APIError for positions that the prompt does not have, or that could mean several prompts.
    """
    if steps.multi_step and steps.job.steering.has_positions:
        raise APIError(
            "position_indices count the tokens of one prompt, but this model answers in several "
            "steps with a prompt each. Use vectors for all tokens, or the uncalibrated model.",
            FIELD,
            "unsupported_value",
        )
    return steps.job.steering.edits(prompt_length)


def _check_activations(served: ServedModel, job: Job, prompt_length: int) -> None:
    """Raise APIError if the activations that a request asks for may be too large."""
    tokens = prompt_length + job.decoding.max_new_tokens
    size = len(job.residual_layers) * tokens * served.bytes_per_activation
    if size > MAX_ACTIVATION_BYTES:
        raise APIError(
            f"The activations of {len(job.residual_layers)} layers and up to {tokens} tokens may "
            f"have {size >> 20} MiB; the maximum is {MAX_ACTIVATION_BYTES >> 20}. Choose fewer "
            "layers or a smaller max_tokens.",
            RESIDUAL,
            "too_many_activations",
        )


def _readings(served: ServedModel, steps: PendingSteps, final: int) -> Readings | APIError:
    """What the request wants to know of the final step besides its text; an error if the model does
    not have a residual stream at one of the layers."""
    job, response, request = steps.job, steps.responses[final], steps.requests[final]
    if job.cancelled or response.finish == "not_finite":
        return Readings()
    stream = projections = None
    param = RESIDUAL
    try:
        if layers := job.residual_layers:
            read = read_response_activations(served.vlm, request, response.tokens, layers)
            stream = encode_tensor(read)
        param = PROJECTIONS
        if job.projected_layer is not None:
            method = (job.served or served).method
            assert method is not None and method.direction is not None
            projections = read_token_projections(
                served.vlm, method.direction, job.projected_layer, request, response.tokens
            )
    except CalibError as error:
        return APIError(str(error), param, "unsupported_value")
    return Readings(stream, projections)


def _edits(pending: Sequence[PendingSteps]) -> list[Edits]:
    """The edits of each prompt: first the method's, computed once per setting for all of its
    prompts, then those of the request's steering vectors."""
    by_setting: dict[int, list[int]] = {}
    for k, steps in enumerate(pending):
        by_setting.setdefault(id(steps.setting), []).append(k)
    edits: list[Edits] = [()] * len(pending)
    for indices in by_setting.values():
        intervention = pending[indices[0]].setting.intervention
        prompts = [pending[k].prompt for k in indices]
        for k, prompt_edits in zip(indices, intervention.edits_for(prompts), strict=True):
            edits[k] = (*prompt_edits, *pending[k].vectors)
    return edits


def _final_event(
    steps: PendingSteps, final: int, reading: Readings | APIError
) -> Finished | APIError:
    response = steps.responses[final]
    if steps.job.cancelled:  # the response is incomplete
        return unavailable()
    if isinstance(reading, APIError):
        return reading
    if response.finish == "not_finite" and not steps.requests[final].edits:
        return server_error(
            "The logits of the model are not finite even without an edit. Start the server with a "
            "wider type (model.dtype=float32), and check the weights.",
            "not_finite",
        )
    if response.finish == "not_finite" and steps.vectors:
        return APIError(
            "The logits are not finite under these steering vectors. Set a smaller scale.",
            FIELD,
            "not_finite",
        )
    if response.finish == "not_finite":
        return APIError(
            f"The logits are not finite at strength {steps.job.strength:g}. Set a smaller one.",
            "calib.strength",
            "not_finite",
        )
    try:
        text = steps.tracker.finish(response.text)
    except ValueError as error:
        return server_error(f"{error}. Send the request without stream.")
    stopped = len(text) < len(response.text)
    finish_reason = "length" if response.finish == "length" and not stopped else "stop"
    return Finished(
        text,
        finish_reason,
        prompt_tokens=sum(map(len, steps.prompts)),
        completion_tokens=sum(len(step.tokens) for step in steps.responses),
        prompt_token_ids=steps.prompts[final],
        token_ids=list(response.tokens),
        activations=reading.activations,
        projections=reading.projections,
    )
