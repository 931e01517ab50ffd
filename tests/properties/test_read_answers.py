"""Answers, thoughts and labels are read from any response, and only those that it gives."""

from hypothesis import given
from hypothesis import strategies as st
from property_profiles import share
from property_strategies import broken_texts

from calib.config.choices import JUDGE_LABELS
from calib.judges.string import is_final_refusal, judge_string
from calib.scoring.answers import read_choice, read_yes_no
from calib.util.thoughts import after_thoughts, closing_tag, opened_thought, settled_beginning

PIECES = [
    *("A", "B", "b", "(c)", "a", "I", "yes", "no", "not", "n't", "or", "and", ",", ".", ":", "\n"),
    *("the answer is", "Answer:", "**Final answer:**", "option", "is wrong", "none", "cannot"),
    *(
        "\\boxed{B}",
        "<answer>",
        "</answer>",
        "red",
        "dog",
        "hot dog",
        "there is",
        "sorry",
        "*",
        "$",
    ),
    *("<think>", "</think>", "[think]", "[/think]", "<|channel|>analysis", "<|channel|>final"),
    *(
        "◁think▷",
        "◁/think▷",
        "<thinking>",
        "analysisI",
        "analysis",
        "assistantfinal",
        "I can't help",
    ),
]
responses = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.builds(lambda piece, times: piece * times, st.sampled_from(PIECES), st.integers(1, 300)),
    broken_texts,
)
OPTIONS = {"A": "red", "B": "a dog", "C": "hot dog", "D": ""}


@given(responses)
@share(5)
def test_a_choice_is_an_option_or_nothing(response):
    assert read_choice(response, OPTIONS) in (None, *OPTIONS)
    assert read_choice(response, {}) is None
    assert read_yes_no(response) in (None, "yes", "no")


@given(
    st.sampled_from("ABC"),
    st.sampled_from(
        [
            "{}",
            "({})",
            "{}.",
            "Answer: {}",
            "\\boxed{{{}}}",
            "The answer is {}.",
            "<answer>{}</answer>",
            "**{}**",
            "<think>A or B?</think>{}",
        ]
    ),
)
@share(3)
def test_a_plain_answer_is_read(letter, form):
    assert read_choice(form.format(letter), OPTIONS) == letter


@given(responses)
@share(5)
def test_thoughts_are_left_out_and_what_is_settled_does_not_change(response):
    rest = after_thoughts(response)
    assert rest is None or len(rest) <= len(response) + response.count("<") + response.count("[")
    tag = opened_thought(response)
    assert not tag or tag in response
    assert isinstance(closing_tag(tag), str)
    settled = ""
    for end in range(len(response) + 1):
        longer = settled_beginning(response[:end])
        assert longer.startswith(settled)
        settled = longer


@given(responses, responses)
@share(3)
def test_the_string_judge_labels_any_response_and_a_final_label_does_not_change(response, more):
    label = judge_string(response)
    assert label in (None, *JUDGE_LABELS)
    if is_final_refusal(response):
        assert judge_string(response + more) == label == "refusal"
