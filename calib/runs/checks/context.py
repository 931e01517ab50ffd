"""Examples whose prompt and response do not fit the model's context, found before anything is
answered."""

from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

from calib import methods
from calib.config.method import Combine
from calib.config.prompts import MethodConfig, PromptFlowMethod, Prompting, Worded
from calib.config.sweep import ExtractConfig, SweepConfig
from calib.data.example import Benchmark, Example
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Method, PromptFlow
from calib.interventions.prompt_lengths import OverLong, PromptLengths, flows_of, over_long
from calib.models.load import VLM, AnyModel
from calib.models.remote import RemoteModel
from calib.runs.preflight import Inputs, methods_of
from calib.util.errors import CalibError
from calib.util.listing import shortened
from calib.util.progress import waiting

_LISTED = 10
"""Examples that an error lists."""


def within_context(config: SweepConfig | ExtractConfig, inputs: Inputs) -> Inputs:
    """``inputs`` without the examples that have a prompt which does not fit the model's context.

    The prompts of few_shot, which are known once it is fitted, are left to leave_out_fitted.
    Raises CalibError (too-large), naming the examples, unless data.skip_long is true.
    """
    model, benchmark, utility = inputs.model, inputs.benchmark, inputs.utility
    if isinstance(model, RemoteModel):
        return inputs
    examples = [*benchmark.examples, *utility.examples]
    limit = _most_new_tokens(config)
    with waiting("checking the lengths of the prompts"):
        lengths = PromptLengths(model)
        found = over_long(lengths, examples, limit)
        flows = worded_flows(config, model) if isinstance(config, SweepConfig) else []
        if flows:
            out = {id(each.example) for each in found}
            asked = [e for e in examples if e.split != "train" and id(e) not in out]
            found += over_long(lengths, asked, limit, flows)
    if not found:
        return inputs
    note = _left_out(config, model, found, len(examples))
    out = {id(each.example) for each in found}
    return replace(
        inputs,
        benchmark=_without(benchmark, out, [note]),
        utility=_without(utility, out, []),
        left_out=[each.example.id for each in found],
    )


def leave_out_fitted(
    config: SweepConfig,
    model: AnyModel,
    fitted: Sequence[Method],
    benchmark: Benchmark,
    utility: Sequence[Example],
) -> tuple[Benchmark, list[Example], list[str]]:
    """``benchmark`` and ``utility`` without the examples that do not fit the context with the
    prompts of a fitted method, and a note on them. Errors as within_context."""
    questions = list(utility)
    by_name = {method.name: method for method in fitted}
    flows = [
        flow
        for method in methods_of(config)
        if isinstance(part := _prompting(method), Prompting) and not _is_worded(part)
        for flow in flows_of(by_name[method.name], _strengths(method))
    ]
    if isinstance(model, RemoteModel) or not flows:
        return benchmark, questions, []
    examples = [*benchmark.examples, *questions]
    asked = [example for example in examples if example.split != "train"]
    found = over_long(PromptLengths(model), asked, _most_new_tokens(config), flows)
    if not found:
        return benchmark, questions, []
    note = _left_out(config, model, found, len(examples))
    out = {id(each.example) for each in found}
    kept = [question for question in questions if id(question) not in out]
    return _without(benchmark, out, []), kept, [note]


def worded_flows(config: SweepConfig, vlm: VLM) -> list[tuple[str, PromptFlow]]:
    """The prompt flows of the run's methods that are not fitted, with the names of the methods."""
    unfitted = Fitting(vlm, [], [], _no_answers, Path())
    return [
        (method.name, flow)
        for method in methods_of(config)
        if (part := _prompting(method)) is not None and _is_worded(part)
        for _, flow in flows_of(methods.build(unfitted, part), _strengths(method))
    ]


def _no_answers(
    examples: Sequence[Example], purpose: str, judged: bool = True
) -> list[JudgedAnswer]:
    raise AssertionError("a method that is not fitted needs no answers")


def _prompting(method: MethodConfig) -> MethodConfig | None:
    """The part of a method that changes the prompt; None of a method that edits activations."""
    if isinstance(method, Combine):
        return method.prompt
    return method if isinstance(method, Prompting) else None


def _is_worded(method: MethodConfig) -> bool:
    """Whether the prompts of a method are known before it is fitted."""
    return isinstance(method, Worded | PromptFlowMethod)


def _strengths(method: MethodConfig) -> list[float]:
    """The strengths at which a method's prompts differ."""
    if isinstance(method, Combine):  # the prompt method at its first strength
        assert isinstance(method.prompt, Prompting)
        return method.prompt.strengths[:1]
    assert isinstance(method, Prompting)
    return method.strengths


def _most_new_tokens(config: SweepConfig | ExtractConfig) -> int:
    settings = config.generation if isinstance(config, SweepConfig) else config
    length = settings.max_new_tokens
    assert length is not None, "the command's configuration sets it"
    return length


def _left_out(
    config: SweepConfig | ExtractConfig, model: VLM, found: Sequence[OverLong], total: int
) -> str:
    """The note on examples that are left out; raises CalibError unless data.skip_long is true."""
    context, setting = model.context_length, "max_new_tokens"
    if isinstance(config, SweepConfig):
        setting = f"generation.{setting}"
    if config.data.skip_long:
        first = "; ".join(map(str, found[:3]))
        return (
            f"data.skip_long: left out {len(found)} of {total} examples, whose prompt and response "
            f"do not fit the context of {context:,} tokens (first: {first})"
        )
    listed = "\n".join(f"  {each}" for each in shortened(found, _LISTED))
    raise CalibError(
        "too-large",
        f"{len(found)} of {total} examples do not fit the context of {model.checkpoint}: it has "
        f"{context:,} tokens for a prompt and its response, and a response may have "
        f"{_most_new_tokens(config):,} ({setting}).\n{listed}\nShorten these queries, give "
        f"a smaller {setting}, or leave the examples out with data.skip_long=true.",
    )


def _without(benchmark: Benchmark, out: Container[int], notes: Sequence[str]) -> Benchmark:
    """``benchmark`` without the examples whose id() is in ``out``, and with more notes."""
    kept = [example for example in benchmark.examples if id(example) not in out]
    return replace(benchmark, examples=kept, notes=[*benchmark.notes, *notes])
