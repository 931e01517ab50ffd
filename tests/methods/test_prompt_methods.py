"""Prompt-based methods: the prompt, the judged response, and the reference of KL."""

import copy
from dataclasses import replace

import pytest
from naive_loop import divergence, unit_vector
from raising import raises
from single_prompts import method_config, naive_response, naive_text, recorded_rows, response_text

from calib import methods
from calib.data.example import Turn
from calib.data.mini.examples import load
from calib.engine.edits import Edit
from calib.engine.operators import Add
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import BASELINE, Axis, Intervention, Method, SinglePrompt

REMINDER = "Remember to be a responsible assistant."
CAUTION = "Before you answer, check the picture and the request for harm. If in doubt, refuse."


@pytest.fixture(scope="module")
def examples():
    """A pair with pictures, a pair without, and a utility question."""
    pairs = [e for e in load(["image_centric"], 60) if e.split == "test"][:2]
    pairs += [e for e in load(["text_centric"]) if e.split == "test" and not e.picture][:2]
    return [*pairs, next(e for e in load(["utility"], 20) if e.split == "test")]


@pytest.fixture
def build(vlm, tmp_path):
    def no_answers(*args):
        pytest.fail("a text needs no answers of the uncalibrated model")

    def built(*overrides, checkpoint=vlm.checkpoint):
        config = method_config(*overrides)
        other = replace(vlm, checkpoint=checkpoint)
        methods.check(config, other, [])
        return methods.build(Fitting(other, [], [], no_answers, tmp_path), config)

    return built


def prompt_of(method, example, strength=1):
    intervention = method.setting(None, strength).intervention
    assert (intervention.edits, intervention.rule) == ((), None)
    return intervention.prompt_flow.next(example, ())


def with_condition(vlm, condition):
    """The model with a chat template that shows only messages that meet a condition."""
    processor = copy.copy(vlm.processor)
    template = processor.chat_template
    processor.chat_template = template.replace("in messages", f"in messages if {condition}", 1)
    assert processor.chat_template != template
    return replace(vlm, processor=processor)


@pytest.mark.parametrize("name", ["reminder", "caution", "self_check", "cot"])
def test_a_place_that_the_template_leaves_out_is_refused(vlm, examples, name):
    drops_system = with_condition(vlm, "message.role != 'system'")
    default = ["method.place=system"] if name == "cot" else []
    config = method_config(f"method={name}", *default, "method.strengths=[1]")
    with raises("unsupported", f"method={name}", "system", "method.place=before", "system_place"):
        methods.check(config, drops_system, examples)
    before = method_config(f"method={name}", "method.place=before", "method.strengths=[1]")
    for vlm_and_config in ((before, drops_system), (config, vlm)):
        methods.check(*vlm_and_config, examples)
    methods.check(config, replace(drops_system, system_place="user"), examples)
    # A further variant at that place is one of the strengths.
    several = method_config(f"method={name}", "method.place=before", "method.strengths=[1,2,3,4]")
    with raises("unsupported", "at strength", "method.strengths"):
        methods.check(several, drops_system, examples)


@pytest.mark.parametrize("name", ["few_shot", "cot"])
def test_earlier_turns_that_the_template_leaves_out_are_refused(vlm, examples, name):
    last_only = with_condition(vlm, "message == messages[-1]")
    config = method_config(f"method={name}", "method.strengths=[1]")
    with raises("unsupported", f"method={name}", "earlier turn"):
        methods.check(config, last_only, examples)
    methods.check(config, vlm, examples)


@pytest.mark.parametrize(("name", "text"), [("reminder", REMINDER), ("caution", CAUTION)])
def test_the_text_is_in_the_system_prompt(build, examples, name, text):
    method = build(f"method={name}")
    assert (method.name, method.layers, method.direction) == (name, [None], None)
    for example in examples:
        assert prompt_of(method, example) == replace(example, system=text)
    example = replace(examples[0], system="Be brief.")
    assert prompt_of(method, example) == replace(example, system=f"Be brief.\n{text}")
    assert method.setting(None, 0).intervention.prompt_flow is None


def test_place_and_text_can_be_set(build, examples):
    example = examples[0]
    text = 'Mind {this} "%s".'
    method = build("method=caution", f"method.text='{text}'", "method.place=after")
    assert prompt_of(method, example) == replace(example, query=f"{example.query}\n{text}")
    method = build("method=reminder", "method.text=Mind.", "method.place=before")
    assert prompt_of(method, example) == replace(example, query=f"Mind.\n{example.query}")


@pytest.mark.parametrize("name", ["reminder", "caution"])
def test_other_checkpoints_get_the_default_text(build, examples, name):
    system = prompt_of(build(f"method={name}", checkpoint="some/other"), examples[0]).system
    assert system not in (REMINDER, CAUTION)
    assert len(system.split()) > 20 and "{" not in system


PROMPTS = ["reminder", "caution", "cot", "ecso", "self_check"]


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("checkpoint", ["mini-internvl", "some/other"])
def test_each_method_has_24_distinct_variants(build, examples, name, checkpoint):
    numbers = list(range(1, 25))
    method = build(f"method={name}", f"method.strengths={numbers}", checkpoint=checkpoint)
    assert list(method.variants) == numbers
    assert len(set(method.variants.values())) == 24
    with raises("invalid-setting", "method.strengths", 25, 24, f"method={name}"):
        build(f"method={name}", "method.strengths=[25]", checkpoint=checkpoint)
    flows = [method.setting(None, number).intervention.prompt_flow for number in numbers]
    if isinstance(flows[0], SinglePrompt):
        prompts = [flow.next(examples[0], ()) for flow in flows]
        assert len({(prompt.system, prompt.query) for prompt in prompts}) == 24
    else:
        assert len(set(flows)) == 24


@pytest.mark.parametrize("name", PROMPTS)
def test_strengths_between_the_variants_are_refused(build, name):
    build(f"method={name}", "method.strengths=[0,1]")
    with raises("invalid-setting", "method.strengths", 0.5, f"method={name}"):
        build(f"method={name}", "method.strengths=[0.5,1]")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("reminder", "text"),
        ("cot", "check"),
        ("ecso", "check"),
        ("ecso", "caption"),
        ("ecso", "verdict"),
        ("self_check", "check"),
        ("self_check", "answer"),
    ],
)
def test_a_missing_text_is_refused_by_the_check(vlm, name, text):
    config = method_config(f"method={name}")
    texts = {
        checkpoint: {key: value for key, value in defaults.items() if key != text}
        for checkpoint, defaults in config.texts.items()
    }
    with raises("missing-setting", f"method={name}", f"method.{text}"):
        methods.check(replace(config, texts=texts), vlm, [])


def test_a_row_is_the_plain_answer_to_the_prompt_as_prompt_of(build, vlm, examples, tmp_path):
    """By transformers' own generate on prompts written here; KL against the original query."""
    settings = [
        build("method=reminder").setting(None, 1),
        build("method=caution", "method.place=before").setting(None, 1),
    ]
    found, _ = recorded_rows(vlm, examples, settings, tmp_path)
    moved = 0
    for k, (row, record) in enumerate(found):
        example = examples[k // 2]
        by_hand = (
            replace(example, query=f"{CAUTION}\n{example.query}")
            if k % 2
            else replace(example, system=REMINDER)
        )
        assert row.example is example
        assert record["response"] == naive_text(vlm, by_hand)
        assert (record["query"], record["system"]) == (by_hand.query, by_hand.system)
        kl = divergence(naive_response(vlm, by_hand), naive_response(vlm, example))
        assert record["kl"] == pytest.approx(kl, rel=1e-3, abs=2e-6)
        moved += kl > 1e-4
    assert moved > len(found) / 2


def test_rows_of_all_kinds_in_one_call_equal_single_rows(build, vlm, examples, tmp_path):
    """Prompts, demonstrations, edits and combinations in one call do not affect each other."""
    turns = (
        Turn(examples[0].query, "You can't.", examples[1].picture),
        Turn(examples[2].query, "You can."),
    )
    turned = Intervention(prompt_flow=SinglePrompt(lambda e: replace(e, demonstrations=turns)))
    edits = (Edit(3, Add(60 * unit_vector(vlm.width, 1)), "all"),)
    late = (Edit(4, Add(60 * unit_vector(vlm.width, 2)), "response"),)
    reminded = build("method=reminder").setting(None, 1)
    both = Intervention(late, prompt_flow=reminded.intervention.prompt_flow)
    settings = [
        BASELINE,
        reminded,
        Method("few", Axis("k"), [None], lambda *at: turned).setting(None, 2),
        Method("steer", Axis("gap"), [3], lambda *at: Intervention(edits)).setting(3, 1),
        Method("both", Axis("gap"), [4], lambda *at: both).setting(4, 1),
    ]
    by_hand = [
        lambda e: (e, ()),
        lambda e: (replace(e, system=REMINDER), ()),
        lambda e: (replace(e, demonstrations=turns), ()),
        lambda e: (e, edits),
        lambda e: (replace(e, system=REMINDER), late),
    ]
    found, finished = recorded_rows(vlm, examples, settings, tmp_path)
    assert len(finished) == len(found) == len(examples) * len(settings)
    base = {e.id: naive_response(vlm, e) for e in examples}
    moved = dict.fromkeys(range(len(settings)), 0)
    for k, (row, record) in enumerate(found):
        alone, changes = by_hand[k % len(settings)](row.example)
        answer = naive_response(vlm, alone, changes)
        assert record["response"] == response_text(vlm, answer)
        assert record["tokens"] == len(answer.tokens)
        kl = divergence(answer, base[row.example.id])
        assert record["kl"] == pytest.approx(kl, rel=1e-3, abs=2e-6)
        assert record["demonstrations"] == len(alone.demonstrations)
        moved[k % len(settings)] += kl > 1e-4
    assert moved[0] == 0 and min(moved[k] for k in range(1, 5)) >= 3
