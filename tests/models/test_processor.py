"""Processors: chat templates, with a fixed date, and unsupported processors."""

import dataclasses
import json
import shutil

import pytest
from raising import raises
from tiny_families import examples, tiny
from transformers import AutoTokenizer

from calib.config.model import ModelConfig
from calib.models.load import fingerprint, load, mini_folder
from calib.models.processor import with_fixed_date
from calib.models.prompts import read_prompt

PLAIN = "{% for message in messages %}{{ message['content'][-1]['text'] }}{% endfor %}"


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(mini_folder(), tmp_path / "copy")


def loaded(folder, **settings):
    return load(ModelConfig("internvl", str(folder), device_map="cpu", **settings))


def test_without_a_chat_template(copy):
    (copy / "chat_template.jinja").unlink()
    with raises("unsupported", copy, "model.chat_template"):
        loaded(copy)
    assert loaded(copy, chat_template=PLAIN).processor.chat_template == PLAIN


def test_a_given_template_replaces_the_processors(vlm, copy):
    changed = loaded(copy, chat_template=PLAIN)
    assert changed.fingerprint != vlm.fingerprint
    example = dataclasses.replace(examples(1)[0], picture=None)
    tokens = read_prompt(changed, example).tokens
    assert changed.processor.tokenizer.decode(tokens) == example.query


THINKS = (
    PLAIN + "{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}"
    "{% if enable_thinking %}<think>{% endif %}"
)


def test_variables_of_the_template_change_prompts_and_the_fingerprint(copy):
    example = dataclasses.replace(examples(1)[0], picture=None)
    ends = {}
    for kwargs in (None, {"enable_thinking": True}, {"enable_thinking": False}):
        vlm = loaded(copy, chat_template=THINKS, chat_template_kwargs=kwargs)
        text = vlm.processor.tokenizer.decode(read_prompt(vlm, example).tokens)
        ends[vlm.fingerprint] = text.endswith("<think>")
    assert list(ends.values()) == [True, True, False]


def test_variables_that_the_template_does_not_read_are_refused(copy):
    with raises("unknown-setting", copy, "chat_template_kwargs", "'thinking'", "enable_thinking"):
        loaded(copy, chat_template=THINKS, chat_template_kwargs={"thinking": False})
    with raises("unknown-setting", copy, "'enable_thinking'", "no settings"):
        loaded(copy, chat_template_kwargs={"enable_thinking": False})


def test_the_fingerprint_of_a_model_without_such_settings_is_that_of_earlier_versions(vlm):
    assert fingerprint(vlm.model, vlm.processor, vlm.tiles) == vlm.fingerprint


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ strftime_now('%d %b %Y') }}", "{{ '01 Jan 2025' }}"),
        ('{% set today = strftime_now( "%Y-%m-%d" ) %}', "{% set today = '2025-01-01' %}"),
        ("{% if strftime_now is defined %}x{% endif %}",) * 2,
        (PLAIN, PLAIN),
    ],
)
def test_templates_get_a_fixed_date(template, expected):
    assert with_fixed_date(template) == expected


def test_a_prompt_contains_the_fixed_date(copy):
    (copy / "chat_template.jinja").write_text("{{ strftime_now('%d %b %Y') }}" + PLAIN)
    vlm = loaded(copy)
    example = dataclasses.replace(examples(1)[0], picture=None)
    text = vlm.processor.tokenizer.decode(read_prompt(vlm, example).tokens)
    assert "2025" in text


def test_an_error_of_the_template_names_the_example():
    vlm = dataclasses.replace(tiny("llava"), processor=copy_of(tiny("llava").processor))
    refuse = "{{ raise_exception('no system prompt with an image') }}"
    vlm.processor.chat_template = (
        "{% if messages[0]['role'] == 'system' %}" + refuse + "{% endif %}<image>" + PLAIN
    )
    example = examples(1)[0]
    assert read_prompt(vlm, example).has_image
    reason = "no system prompt with an image"
    with raises("unsupported", "tiny-llava", f"'{example.id}'", reason):
        read_prompt(vlm, dataclasses.replace(example, system="be kind"))


def copy_of(processor):
    return type(processor)(
        processor.image_processor,
        processor.tokenizer,
        patch_size=processor.patch_size,
        vision_feature_select_strategy=processor.vision_feature_select_strategy,
        num_additional_image_tokens=processor.num_additional_image_tokens,
    )


def test_a_processor_of_text_only(copy, monkeypatch):
    """A family that transformers maps to no processor, and whose files contain only a tokenizer."""
    monkeypatch.setattr("calib.models.processor.PROCESSOR_MAPPING_NAMES", {})
    monkeypatch.setattr(
        "calib.models.processor.AutoProcessor.from_pretrained", AutoTokenizer.from_pretrained
    )
    assert "image_processor" in json.loads((copy / "processor_config.json").read_text())
    with raises("unsupported", copy):
        loaded(copy)
