"""Prompts that do not fit the context: counted exactly in every family, steps of flows included."""

from dataclasses import replace

import pytest
from PIL import Image
from tiny_families import FAMILIES, NEEDS_PICTURE, tiny

from calib.data.example import Example, Turn
from calib.interventions import prompt_lengths as module
from calib.interventions.intervention import SinglePrompt
from calib.interventions.prompt_lengths import PromptLengths, flow_prompts, over_long
from calib.methods.cot import ReasonThenAnswer
from calib.methods.ecso import EyesClosed
from calib.methods.self_check import CheckThenRespond
from calib.models.chat_template import PROCESSOR_ERRORS
from calib.models.tokens import token_count


def picture(width, height):
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    return lambda: image


def example(query="What is it? <b>", **fields):
    return Example("e", "image_centric", "v", "c", "test", query, **fields)


SHOWN = [
    example(),
    example("What is the shape in this picture? " * 9, picture=picture(90, 70)),
    example("How many?", picture=picture(61, 400), system="Be kind."),
    example("How many?", picture=picture(500, 100), response_prefix="There are"),
    example("Which?", picture=picture(150, 90), more_pictures=(picture(40, 300), picture(64, 64))),
    example("Tell me.", picture=picture(33, 70), demonstrations=(
        Turn("What is it?", "It is a sign.", picture(200, 80)), Turn("Where?", "In the corner."),
    )),
]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_is_too_long_from_its_own_number_of_tokens_on(family):
    vlm = tiny(family)
    lengths, counted = PromptLengths(vlm), 0
    for shown in SHOWN:
        try:
            tokens = token_count(vlm, shown)
        except PROCESSOR_ERRORS:
            continue
        counted += 1
        assert lengths.above(shown, tokens - 1) == tokens
        assert lengths.above(shown, tokens) is None
    assert counted >= (1 if family in NEEDS_PICTURE else 3)


def test_a_prompt_below_the_bound_is_not_tokenized(vlm, monkeypatch):
    lengths, counts = PromptLengths(vlm), []
    real = module.token_count

    def counted(vlm, shown):
        counts.append(shown)
        return real(vlm, shown)

    monkeypatch.setattr(module, "token_count", counted)
    shown = [replace(SHOWN[1], query=f"What is number {k}?") for k in range(50)]
    assert not over_long(lengths, shown, 32)
    first = len(counts)
    assert not over_long(lengths, shown, 32)
    assert len(counts) == first < 20


def test_an_example_is_named_with_its_own_number_of_tokens(vlm):
    long = example("danger " * 1100)
    (found,) = over_long(PromptLengths(vlm), [*SHOWN, long], 32)
    assert found.example is long and found.tokens == token_count(vlm, long) and not found.method
    assert all(part in str(found) for part in ("'e'", f"{found.tokens:,}"))


def test_a_response_needs_room_too(vlm):
    shown = SHOWN[1]
    room = vlm.context_length - token_count(vlm, shown)
    assert not over_long(PromptLengths(vlm), [shown], room)
    assert over_long(PromptLengths(vlm), [shown], room + 1)


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        (SinglePrompt(lambda shown: replace(shown, system="s")), {("s", "q")}),
        (ReasonThenAnswer("Harm? {query}", "before"), {(None, "Harm? q"), (None, "R\nq")}),
        (CheckThenRespond("Harm?", "Decline."), {(None, "Harm?"), ("Decline.", "q"), (None, "q")}),
        (EyesClosed("Harm? {answer}", "Caption?", "{caption} {query}"), {
            (None, "q"), (None, "Harm? R"), (None, "Caption?"), (None, "R q"),
        }),
    ],
)  # fmt: skip
def test_every_step_of_a_prompt_flow_is_followed(flow, expected):
    shown = example("q", picture=picture(8, 8))
    prompts = {(step.system, step.query) for step in flow_prompts(flow, shown, "R")}
    assert expected <= prompts


def test_the_text_of_a_method_counts(vlm):
    shown = SHOWN[1]
    tokens = token_count(vlm, shown)
    flow = SinglePrompt(lambda shown: replace(shown, query=shown.query + " danger" * 40))
    room = vlm.context_length - tokens
    assert not over_long(PromptLengths(vlm), [shown], room - 20)
    (found,) = over_long(PromptLengths(vlm), [shown], room - 20, [("caution", flow)])
    assert found.method == "caution" and found.tokens > tokens + 20
