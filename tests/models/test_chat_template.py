"""The parts of a conversation that reach the prompt, the end of the query, and the tokens that are
edited and read around it."""

import copy
from dataclasses import replace

import pytest
import torch
from naive_loop import hook_at_site, tail_length
from raising import raises
from tiny_families import FAMILIES, NEEDS_PICTURE, examples, tiny
from tiny_parts import LAYERS

from calib.data.example import Example, Turn
from calib.engine.activations import read_activations
from calib.models.prompt_batch import collate, prompt_positions, read_tokens
from calib.models.prompts import read_prompt, read_prompts

TURN = Turn("Is it red?", "Yes, it is.")
PARTS = (
    "{% for part in m.content %}{% if part.type == 'image' %}<IMG_CONTEXT>{% else %}"
    "{{ part.text }}{% endif %}{% endfor %}"
)
TURNS = "{% for m in messages %}<{{ m.role }}>" + PARTS + "{% endfor %}<assistant>"
DROPS_SYSTEM = TURNS.replace("in messages", "in messages if m.role != 'system'")
REFUSES_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + TURNS
)
"""As Gemma 1 and 2."""
SYSTEM_IN_LAST_TURN = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set messages = messages[1:] %}{% endif %}{% for m in messages %}"
    "{% if m.role == 'user' %}[INST]{% if loop.last and system is defined %}"
    "{{ system + '\n\n' }}{% endif %}" + PARTS + "[/INST]"
    "{% else %}{{ m.content + '</s>' }}{% endif %}{% endfor %}"
)
"""As Pixtral: the contents of other messages than the user's must be text."""
TRIMS_SYSTEM = (
    "{% set system = '' %}{% if messages[0].role == 'system' %}"
    "{% set system = messages[0].content | trim %}{% set messages = messages[1:] %}{% endif %}"
    "<system>{{ system }}" + TURNS
)
"""As Llama 3.2 Vision, which writes a list of parts as Python does."""
LAST_TURN_ONLY = TURNS.replace("in messages", "in messages[-1:]")
NEWEST_FIRST = TURNS.replace("in messages", "in messages | reverse")
LAST_PICTURE_ONLY = TURNS.replace("{% if part.type == 'image' %}", "{% if part.type == 'image' %}"
    "{% if m is sameas messages[-1] %}").replace(
    "<IMG_CONTEXT>{% else %}", "<IMG_CONTEXT>{% endif %}{% else %}")  # fmt: skip
families = pytest.mark.parametrize("family", FAMILIES)
MINI_TAIL = "<|im_end|>\n<|im_start|>assistant\n"


@torch.no_grad()
def block_activations(vlm, example):
    """Every block's output for one prompt with a picture. # [layers, length, width]"""
    batch, outputs = collate(vlm, [read_prompt(vlm, example)]), []
    hooks = [hook_at_site(vlm, k, "residual", outputs.append) for k in range(LAYERS)]
    vlm.model(**batch.inputs, position_ids=batch.position_ids)
    for hook in hooks:
        hook.remove()
    return torch.cat(outputs)


def readable(family):
    return [e for e in examples(6) if e.picture or family not in NEEDS_PICTURE]


@families
def test_the_query_ends_before_the_text_of_the_template(family):
    vlm = tiny(family)
    for example in readable(family):
        prompt = read_prompt(vlm, example)
        assert prompt.instruction_end == len(prompt.tokens) - 1 - tail_length(vlm, prompt.tokens)
        last = vlm.processor.tokenizer.decode(prompt.tokens[prompt.instruction_end])
        assert last and example.query.endswith(last.strip())


@families
def test_demonstrations_and_response_prefix_do_not_move_it(family):
    vlm = tiny(family)
    example, other = readable(family)[:2]
    plain = read_prompt(vlm, example)
    turn = Turn(other.query, "it is a circle", other.picture)
    for changed in (
        replace(example, response_prefix="how many"),
        replace(example, system="be kind.", demonstrations=(turn,) if other.picture else ()),
    ):
        prompt = read_prompt(vlm, changed)
        end, plain_end = prompt.instruction_end, plain.instruction_end
        after = len(prompt.tokens) - prompt.response_tokens
        assert prompt.tokens[end:after].equal(plain.tokens[plain_end:])
        assert (prompt.response_tokens > 0) == bool(changed.response_prefix)


@pytest.mark.parametrize("query", ["Is it?", "a\n", " b ", "中文。", "<|im_end|>", "assistant\n"])
def test_any_query_of_the_packaged_model(vlm, query):
    prompt = read_prompt(vlm, Example("a", "x", "x", "x", "test", query))
    decode = vlm.processor.tokenizer.decode
    assert decode(prompt.tokens[prompt.instruction_end + 1 :]) == MINI_TAIL
    assert query.encode().endswith(decode(prompt.tokens[prompt.instruction_end]).encode()) or (
        "\ufffd" in decode(prompt.tokens[prompt.instruction_end])  # one byte of a character
    )


def test_the_end_of_a_template_is_decoded_once(vlm, monkeypatch):
    """Later prompts need one token more, to see that it is part of the query."""
    fresh, decoded = replace(vlm, template_tails={}), []
    decode = vlm.processor.tokenizer.decode

    def counted(tokens, **settings):
        decoded.append(len(tokens))
        return decode(tokens, **settings)

    monkeypatch.setattr(vlm.processor.tokenizer, "decode", counted)
    first, second = (
        read_prompt(fresh, Example("a", "x", "x", "x", "test", query))
        for query in ("what is it?", "where is the red ball")
    )
    after = len(second.tokens) - second.instruction_end - 1
    assert after == len(first.tokens) - first.instruction_end - 1 > 1
    assert decoded[-2:] == [after + 1, after + 1] and decoded.count(1) == 1


def test_a_template_with_the_picture_after_the_text_is_refused():
    vlm = tiny("llava")
    pictured = next(e for e in examples(6) if e.picture)
    template = vlm.processor.chat_template
    vlm = replace(vlm, template_tails={})
    vlm.processor.chat_template = (
        "{% for m in messages %}{% for i in m['content'] %}{% if i['type'] == 'text' %}"
        "{{ i['text'] }}{% endif %}{% endfor %}{% for i in m['content'] %}"
        "{% if i['type'] == 'image' %}<image>{% endif %}{% endfor %}{% endfor %}[assistant] "
    )
    try:
        prompts = read_prompts(vlm, [pictured, replace(pictured, picture=None)])
    finally:
        vlm.processor.chat_template = template
    assert [prompt.instruction_end is None for prompt in prompts] == [True, False]
    with raises("unsupported", "after_instruction"):
        prompt_positions(collate(vlm, prompts), "after_instruction")
    with raises("unsupported", "instruction_end"):
        read_tokens(collate(vlm, prompts), "instruction_end")


def test_an_empty_query_is_refused(vlm):
    prompt = read_prompt(vlm, Example("a", "x", "x", "x", "test", ""))
    with raises("unsupported", "after_instruction"):
        prompt_positions(collate(vlm, [prompt]), "after_instruction")


@families
def test_activations_are_read_at_the_chosen_tokens(family):
    vlm = tiny(family)
    rows = [replace(e, response_prefix="how many") for e in readable(family) if e.picture][:2]
    for row in rows:
        hidden = block_activations(vlm, row)  # [layers, length, width]
        prompt = read_prompt(vlm, row)
        start = len(prompt.tokens) - prompt.response_tokens
        end = start - 1 - tail_length(vlm, prompt.tokens[:start])
        for positions, expected in (
            ("instruction_end", hidden[:, end]),
            ("response", hidden[:, start:].mean(1)),
            ("last_prompt-1", hidden[:, -2]),
            ("last_prompt-3", hidden[:, -4]),
        ):
            read = read_activations(vlm, [row, rows[0]], positions)[0]
            torch.testing.assert_close(read, expected, atol=2e-4, rtol=2e-4)


def test_tokens_that_do_not_exist_are_refused():
    vlm, example = tiny("internvl"), examples(1)[0]
    for positions in ("response", "last_prompt-500"):
        with raises("too-few", example.id, positions):
            read_activations(vlm, [example], positions)


def with_template(vlm, template, **settings):
    processor = copy.copy(vlm.processor)
    processor.chat_template = template
    return replace(vlm, processor=processor, **settings)


def prompt_of(vlm, example):
    return vlm.processor.tokenizer.decode(read_prompt(vlm, example).tokens)


@pytest.fixture(scope="module")
def plain():
    return Example("e1", "text_centric", "none", "none", "test", "What is it?")


@pytest.fixture(scope="module")
def pictured():
    return next(example for example in examples(6) if example.picture)


@pytest.mark.parametrize("template", [TURNS, SYSTEM_IN_LAST_TURN, TRIMS_SYSTEM])
def test_templates_get_system_messages_and_responses_in_the_form_that_they_take(
    vlm, plain, pictured, template
):
    changed = with_template(vlm, template)
    for example in (plain, pictured):
        text = prompt_of(changed, replace(example, system="Be kind.", demonstrations=(TURN,)))
        assert "'type'" not in text
        for part in ("Be kind.", TURN.query, TURN.response, example.query):
            assert text.count(part) == 1


@pytest.mark.parametrize(
    ("template", "reason"),
    [(DROPS_SYSTEM, "system messages"), (REFUSES_SYSTEM, "System role not supported")],
)
@pytest.mark.parametrize("with_turn", [False, True])
def test_a_system_prompt_that_does_not_arrive_is_refused(
    vlm, plain, pictured, template, reason, with_turn
):
    changed = with_template(vlm, template)
    for example in (plain, pictured):
        example = replace(example, demonstrations=(TURN,) if with_turn else ())
        assert prompt_of(changed, example)
        with raises("unsupported", reason, "model.system_place=user", "method.place=before"):
            read_prompt(changed, replace(example, system="Be kind."))
        placed = with_template(vlm, template, system_place="user")
        text = prompt_of(placed, replace(example, system="Be kind."))
        first = TURN.query if with_turn else example.query
        assert f"Be kind.\n\n{first}" in text.replace("<IMG_CONTEXT>", "")


def test_a_template_may_refuse_system_messages_beside_pictures_only(vlm, plain, pictured):
    refusal = "{{ raise_exception('no system message with images') }}"
    guard = (
        "{% if messages[0].role == 'system' and messages[-1].content[0].type == 'image' %}"
        + refusal + "{% endif %}"
    )  # fmt: skip
    changed = with_template(vlm, guard + TURNS)
    assert "Be kind." in prompt_of(changed, replace(plain, system="Be kind."))
    with raises("unsupported", "no system message with images", "method.place=before"):
        read_prompt(changed, replace(pictured, system="Be kind."))


@pytest.mark.parametrize(
    ("template", "reason"),
    [(LAST_TURN_ONLY, "earlier turns"), (NEWEST_FIRST, "order of the turns")],
)
def test_earlier_turns_that_do_not_arrive_are_refused(vlm, plain, template, reason):
    changed = with_template(vlm, template)
    assert plain.query in prompt_of(changed, plain)
    with raises("unsupported", reason, "'e1'", "model.chat_template"):
        read_prompt(changed, replace(plain, demonstrations=(TURN,)))


def test_pictures_that_do_not_arrive_are_refused(vlm, plain, pictured):
    changed = with_template(vlm, LAST_PICTURE_ONLY)
    turn = replace(TURN, picture=pictured.picture)
    assert read_prompt(changed, replace(pictured, demonstrations=(TURN,))).has_image
    with raises("unsupported", "2 pictures"):
        read_prompt(changed, replace(pictured, demonstrations=(turn,)))
    without = with_template(vlm, TURNS.replace("<IMG_CONTEXT>", ""))
    assert plain.query in prompt_of(without, plain)
    with raises("unsupported"):
        read_prompt(without, pictured)


def test_a_query_that_does_not_arrive_is_refused(vlm, plain):
    with raises("unsupported", "the query"):
        read_prompt(with_template(vlm, "Hello."), plain)


@pytest.mark.parametrize(("kwargs", "end"), [({}, "<think>\n"), ({"enable_thinking": False}, "")])
def test_variables_of_the_template(vlm, plain, kwargs, end):
    template = (
        TURNS + "{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}"
    )
    text = prompt_of(with_template(vlm, template, template_kwargs=kwargs), plain)
    assert text.endswith(f"<assistant>{end}")


def test_a_response_prefix_follows_a_thought_that_the_template_opens(vlm, plain):
    begun = replace(plain, response_prefix="It is")
    opening = with_template(vlm, TURNS + "{{ '<think>\n' }}")
    prompt = read_prompt(opening, begun)
    assert prompt_of(opening, begun).endswith("<assistant><think>\n\n</think>\n\nIt is")
    decode = vlm.processor.tokenizer.decode
    assert decode(prompt.tokens[-prompt.response_tokens :]) == "It is"
    assert prompt.instruction_end == read_prompt(opening, plain).instruction_end
    assert prompt_of(with_template(vlm, TURNS), begun).endswith("<assistant>It is")
