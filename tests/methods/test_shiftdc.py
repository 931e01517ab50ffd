"""ShiftDC: the component of the picture's shift along the safety direction is removed."""

import json
from dataclasses import replace

import pytest
from by_hand import FormulaEdit, require_same
from raising import raises

from calib.config.method import Captioned
from calib.interventions.fitting import Fitting
from calib.methods.shiftdc import check, method

QUESTION = 'What matters for "{query}" here?'
SETTINGS = {
    "all_layers_at_once": True,
    "layers": "upper",
    "positions": "response",
    "captioned": "{query} ({caption})",
}


@pytest.fixture(scope="module")
def captions(world):
    """The fake model's caption of each example with a picture, for its own query."""
    questions = [
        replace(example, query=f'What matters for "{example.query}" here?')
        for example in world.examples
    ]
    answers = world.fitting.baseline_answers(questions, "caption", False)
    captioned = zip(world.examples, answers, strict=True)
    return {example.id: answer.text for example, answer in captioned if example.picture}


def captions_file(path, captions):
    path.write_text(
        "\n".join(json.dumps({"id": k, "caption": v}) for k, v in captions.items()),
        encoding="utf-8",
    )
    return str(path)


@pytest.fixture(params=["model", "file"])
def config(request, captions, tmp_path):
    if request.param == "model":
        return Captioned("shiftdc", question=QUESTION, **SETTINGS)
    path = captions_file(tmp_path / "captions.jsonl", {k: f"a {v}" for k, v in captions.items()})
    return Captioned("shiftdc", captions=path, **SETTINGS)


def with_caption(example, captions, prefix):
    """The query and the caption; examples without a picture are unchanged."""
    if example.picture is None:
        return example
    query = f"{example.query} ({prefix}{captions[example.id]})"
    return replace(example, query=query, picture=None)


@pytest.mark.parametrize("strength", [-2.0, 4.0])
def test_the_component_of_the_shift_is_removed(world, config, captions, strength):
    prefix = "a " if config.captions else ""
    example = world.test_example()
    plain = with_caption(example, captions, prefix)
    sides = [
        [with_caption(example, captions, prefix) for example in world.twins(safety)]
        for safety in ("safe", "unsafe")
    ]

    def change(layer):
        safe, unsafe = (world.plain.last(side, layer).mean(0) for side in sides)
        s = safe - unsafe
        m = (world.plain.last([example], layer) - world.plain.last([plain], layer))[0]
        return FormulaEdit(layer, "response", lambda h: h - strength * (m @ s) / (s @ s) * s)

    setting = method(world.fitting, config).setting(None, strength)
    require_same(world, setting, example, [change(layer) for layer in (3, 4, 5)])


def test_an_example_without_a_picture_is_not_edited(world, config):
    intervention = method(world.fitting, config).setting(None, 1.0).intervention
    plain, pictured = world.test_example(picture=False), world.test_example()
    assert intervention.edits_for([plain]) == [()]
    mixed = intervention.edits_for([plain, pictured, plain])
    assert [len(edits) for edits in mixed] == [0, 3, 0]


def test_one_caption_for_all_pictures_is_refused(world, captions, tmp_path):
    """Twins that differ in their pictures only are then the same query."""
    twins = [example for example in world.examples if example.dataset == "image_centric"]
    fitting = Fitting(world.vlm, twins, [], world.fitting.baseline_answers, tmp_path)
    path = captions_file(tmp_path / "captions.jsonl", dict.fromkeys(captions, "a thing"))
    with raises("no-solution", "method=shiftdc", "a thing", "method.captions"):
        method(fitting, Captioned("shiftdc", captions=path, **SETTINGS))


def test_a_run_without_pictures_is_refused(world, config):
    plain = [example for example in world.examples if example.picture is None]
    with raises("too-few", "method=shiftdc"):
        check(config, world.vlm, plain)
    check(config, world.vlm, world.examples)


def test_a_file_without_a_caption_is_refused(world, captions, tmp_path):
    path = captions_file(tmp_path / "captions.jsonl", dict(list(captions.items())[1:]))
    first, count = next(iter(captions)), len(captions)
    with raises("missing-value", path, f"1 of {count}", first):
        check(Captioned("shiftdc", captions=str(path)), world.vlm, world.examples)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "not-found"),
        ("id,words\na,b\n", "missing-column"),
        ('id,caption\na,"b\n', "unreadable"),
        ("id,caption\na,\n", "missing-value"),
        ("id,caption\na,b\na,c\n", "duplicate"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(world, tmp_path, text, code):
    path = tmp_path / "captions.csv"
    if text:
        path.write_text(text, encoding="utf-8")
    with raises(code, path, "method.captions"):
        check(Captioned("shiftdc", captions=str(path)), world.vlm, world.examples)


@pytest.mark.parametrize(
    ("given", "missing"),
    [({"captioned": "{query} {caption}"}, "method.question"), ({}, "method.captioned")],
)
def test_a_missing_wording_is_refused(world, given, missing):
    with raises("missing-setting", "method=shiftdc", missing):
        check(Captioned("shiftdc", **given), world.vlm, world.examples)
