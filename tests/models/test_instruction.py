"""The end of the query, and the tokens that are edited and read around it."""

from dataclasses import replace

import pytest
import torch
from naive_loop import hook_at_site, tail_length
from raising import raises
from tiny_families import FAMILIES, LAYERS, NEEDS_PICTURE, examples, tiny

from calib.data.example import Example, Turn
from calib.engine.activations import read_activations
from calib.models.prompt_batch import collate, prompt_positions, read_tokens
from calib.models.prompts import read_prompt, read_prompts

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
