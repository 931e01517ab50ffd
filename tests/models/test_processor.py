"""Processors: chat templates, with a fixed date, and unsupported processors."""

import dataclasses
import json
import shutil
from copy import deepcopy
from functools import partial

import pytest
from PIL import Image
from raising import raises
from tiny_families import examples, tiny
from transformers import AutoTokenizer

from calib.config.model import ModelConfig
from calib.data.example import Turn
from calib.models.feature_cache import FeatureCache
from calib.models.load import fingerprint, load, mini_folder
from calib.models.processor import limit_pixels, scaled_down, template_text, with_fixed_date
from calib.models.prompts import read_prompt

PLAIN = "{% for message in messages %}{{ message['content'][-1]['text'] }}{% endfor %}"


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(mini_folder(), tmp_path / "copy")


def loaded(folder, **settings):
    return load(ModelConfig("internvl", str(folder), device_map="cpu", **settings))


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_chat_template_is_none(copy, tmp_path, text):
    (tmp_path / "empty.jinja").write_text(text, encoding="utf-8")
    with raises("not-found", "empty.jinja"):
        loaded(copy, chat_template=str(tmp_path / "empty.jinja"))
    (copy / "chat_template.jinja").write_text(text, encoding="utf-8")
    with raises("unsupported", copy, "model.chat_template"):
        loaded(copy)


def test_without_a_chat_template(copy):
    (copy / "chat_template.jinja").unlink()
    with raises("unsupported", copy, "model.chat_template"):
        loaded(copy)
    assert loaded(copy, chat_template=PLAIN).processor.chat_template == PLAIN


def test_a_template_is_given_as_text_or_as_the_path_of_a_file(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("{{ 'caffè' }}", encoding="utf-8")
    assert template_text(str(tmp_path / "chat_template.jinja")) == "{{ 'caffè' }}"
    assert template_text("{% set a = 1 %}") == "{% set a = 1 %}"
    for missing in (tmp_path / "none.jinja", tmp_path, "plain text"):
        with raises("not-found", str(missing)):
            template_text(str(missing))


def test_a_given_template_replaces_the_processors(vlm, copy):
    changed = loaded(copy, chat_template=PLAIN)
    assert changed.fingerprint != vlm.fingerprint
    example = dataclasses.replace(examples(1)[0], picture=None)
    tokens = read_prompt(changed, example).tokens
    assert changed.processor.tokenizer.decode(tokens) == example.query


def limited(family, most=None, least=None, tiles=False):
    """The tiny model of a family with a limit on the pixels of a picture."""
    vlm = dataclasses.replace(
        tiny(family),
        processor=deepcopy(tiny(family).processor),
        tiles=tiles,
        feature_cache=FeatureCache(),
    )
    scaled_to = limit_pixels(vlm.processor, family, most, least, tiles)
    return dataclasses.replace(vlm, max_pixels=scaled_to)


def image_tokens(vlm, side):
    (example,) = examples(1)
    shown = dataclasses.replace(example, picture=lambda: Image.new("RGB", (side, side)))
    return int(read_prompt(vlm, shown).image_mask.sum())


OWN_LIMIT = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_vl_moe", "glm4v")
ONE_SIZE = ("internvl", "llava", "gemma3", "smolvlm", "paligemma", "aya_vision")


@pytest.mark.parametrize("family", OWN_LIMIT)
def test_a_family_with_bounds_on_the_area_of_a_picture(family):
    before = image_tokens(tiny(family), 56), image_tokens(tiny(family), 16)
    smaller = limited(family, most=1600)
    assert smaller.max_pixels is None and image_tokens(smaller, 56) < before[0]
    settings = smaller.processor, tiny(family).processor
    assert fingerprint(smaller.model, settings[0]) != fingerprint(smaller.model, settings[1])
    larger = limited(family, least=3000)
    assert image_tokens(larger, 16) > before[1]
    with raises("invalid-setting", "model.max_pixels=20"):
        limited(family, most=20)


@pytest.mark.parametrize(
    ("family", "side", "most"),
    [("llava_next", 56, 700), ("llava_onevision", 56, 700), ("mistral3", 56, 900)],
)
def test_pictures_are_scaled_down_before_the_processor(family, side, most):
    vlm = limited(family, most=most)
    assert vlm.max_pixels == most
    assert image_tokens(vlm, side) < image_tokens(tiny(family), side)
    small = int(most**0.5)
    assert image_tokens(vlm, small) == image_tokens(tiny(family), small)


def test_pictures_of_earlier_turns_and_several_pictures_are_scaled_down():
    vlm = limited("mistral3", most=900)
    (example,) = examples(1)
    large = partial(Image.new, "RGB", (56, 56))
    shown = dataclasses.replace(
        example, picture=large, more_pictures=(large,),
        demonstrations=(Turn("What?", "A dot.", large, (large,)),),
    )  # fmt: skip
    assert int(read_prompt(vlm, shown).image_mask.sum()) == 4 * image_tokens(vlm, 56)


@pytest.mark.parametrize(("family", "tiles"), [("internvl", True), ("aya_vision", True),
                                               ("idefics3", False)])  # fmt: skip
def test_pictures_get_fewer_tiles(family, tiles):
    vlm = limited(family, most=1600, tiles=tiles)
    full = dataclasses.replace(tiny(family), tiles=tiles, feature_cache=FeatureCache())
    assert vlm.max_pixels is None and image_tokens(vlm, 112) < image_tokens(full, 112)
    with raises("invalid-setting", "model.max_pixels=700", "784"):
        limited(family, most=700, tiles=tiles)


@pytest.mark.parametrize("family", ONE_SIZE)
def test_a_limit_without_effect_is_refused(family):
    with raises("unsupported", "model.max_pixels=900", family):
        limited(family, most=900)


def test_a_least_size_that_the_processor_does_not_know_is_refused():
    with raises("unsupported", "model.min_pixels=900", "mistral3"):
        limited("mistral3", least=900)


def test_proportions_are_kept():
    image = scaled_down(lambda: Image.new("RGB", (400, 100)), 10_000)
    assert image.size == (200, 50)
    assert scaled_down(lambda: Image.new("RGB", (9000, 1)), 100).size == (948, 1)
    small = Image.new("RGB", (10, 10))
    assert scaled_down(lambda: small, 100) is small


def test_a_limit_is_part_of_the_fingerprint(vlm, copy):
    tiled = loaded(copy, tiles=True)
    side = tiled.processor.image_processor.size["height"]
    fewer = loaded(copy, tiles=True, max_pixels=4 * side * side)
    assert len({vlm.fingerprint, tiled.fingerprint, fewer.fingerprint}) == 3
    with raises("unsupported", "model.max_pixels=100", "model.tiles=true"):
        loaded(copy, max_pixels=100)
    with raises("invalid-setting", "model.max_pixels", "0"):
        ModelConfig("internvl", max_pixels=0)


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
    (copy / "chat_template.jinja").write_text(
        "{{ strftime_now('%d %b %Y') }}" + PLAIN, encoding="utf-8"
    )
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
    assert "image_processor" in json.loads(
        (copy / "processor_config.json").read_text(encoding="utf-8")
    )
    with raises("unsupported", copy):
        loaded(copy)
