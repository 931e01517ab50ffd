"""Processors: with a chat template, and one that says the same every day."""

import dataclasses
import json
import shutil

import pytest
from tiny_families import examples, tiny
from transformers import AutoTokenizer

from calib.config.model import ModelConfig
from calib.models.load import load, mini_folder
from calib.models.processor import with_fixed_date
from calib.models.prompts import read_prompt
from calib.util.errors import CalibError

PLAIN = "{% for message in messages %}{{ message['content'][-1]['text'] }}{% endfor %}"


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(mini_folder(), tmp_path / "copy")


def loaded(folder, **settings):
    return load(ModelConfig("internvl", str(folder), device_map="cpu", **settings))


def test_without_a_chat_template(copy):
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(CalibError, match="has no chat template.*give model.chat_template"):
        loaded(copy)
    assert loaded(copy, chat_template=PLAIN).processor.chat_template == PLAIN


def test_one_that_is_given_takes_the_place_of_the_processors(vlm, copy):
    found = loaded(copy, chat_template=PLAIN)
    assert found.fingerprint != vlm.fingerprint
    example = dataclasses.replace(examples(1)[0], picture=None)
    tokens = read_prompt(found, example).tokens
    assert found.processor.tokenizer.decode(tokens) == example.query


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{{ strftime_now('%d %b %Y') }}", "{{ '01 Jan 2025' }}"),
        ('{% set today = strftime_now( "%Y-%m-%d" ) %}', "{% set today = '2025-01-01' %}"),
        ("{% if strftime_now is defined %}x{% endif %}",) * 2,
        (PLAIN, PLAIN),
    ],
)
def test_a_template_is_told_the_same_day_always(written, told):
    assert with_fixed_date(written) == told


def test_a_prompt_holds_that_day(copy):
    (copy / "chat_template.jinja").write_text("{{ strftime_now('%d %b %Y') }}" + PLAIN)
    found = loaded(copy)
    example = dataclasses.replace(examples(1)[0], picture=None)
    text = found.processor.tokenizer.decode(read_prompt(found, example).tokens)
    assert "2025" in text


def test_what_a_template_refuses_is_named():
    vlm = dataclasses.replace(tiny("llava"), processor=copy_of(tiny("llava").processor))
    refuse = "{{ raise_exception('no system prompt beside a picture') }}"
    vlm.processor.chat_template = (
        "{% if messages[0]['role'] == 'system' %}" + refuse + "{% endif %}<image>" + PLAIN
    )
    example = examples(1)[0]
    assert read_prompt(vlm, example).has_image
    words = rf"processor of tiny-llava cannot prepare example '{example.id}': no system prompt"
    with pytest.raises(CalibError, match=words):
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
    """A family that transformers maps to no processor, and whose files hold a tokenizer only."""
    monkeypatch.setattr("calib.models.processor.PROCESSOR_MAPPING_NAMES", {})
    monkeypatch.setattr(
        "calib.models.processor.AutoProcessor.from_pretrained", AutoTokenizer.from_pretrained
    )
    assert "image_processor" in json.loads((copy / "processor_config.json").read_text())
    with pytest.raises(CalibError, match="does not read both pictures and text"):
        loaded(copy)
