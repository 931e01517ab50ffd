"""What the picture shifts along the safety direction, taken out again."""

import json
from dataclasses import replace

import pytest
from by_hand import By, require_same

from calib.config.method import Captioned
from calib.methods.shiftdc import check, method
from calib.util.errors import CalibError

QUESTION = "What is this?"


@pytest.fixture(scope="module")
def captions(world):
    """Each pictured example's caption, as the made-up model gives it to the question."""
    asked = [replace(example, query=QUESTION) for example in world.examples]
    said = world.fitting.baseline_answers(asked, "caption", False)
    pairs = zip(world.examples, said, strict=True)
    return {example.id: answer.text for example, answer in pairs if example.picture}


@pytest.fixture(params=["asked", "file"])
def config(request, captions, tmp_path):
    if request.param == "asked":
        return Captioned("shiftdc", all_layers_at_once=True, layers="upper", question=QUESTION)
    path = tmp_path / "captions.jsonl"
    written = [json.dumps({"id": k, "caption": f"a {v}"}) for k, v in captions.items()]
    path.write_text("\n".join(written))
    return Captioned("shiftdc", all_layers_at_once=True, layers="upper", captions=str(path))


def in_words(example, captions, prefix):
    """The caption and the query; an example without a picture as it is."""
    if example.picture is None:
        return example
    said = prefix + captions[example.id]
    return replace(example, query=f"{said} {example.query}", picture=None)


@pytest.mark.parametrize("strength", [-2.0, 4.0])
def test_the_component_of_the_shift_is_removed(world, config, captions, strength):
    prefix = "a " if config.captions else ""
    shown = world.shown()
    plain = in_words(shown, captions, prefix)
    sides = [
        [in_words(example, captions, prefix) for example in world.twins(safety)]
        for safety in ("safe", "unsafe")
    ]

    def change(layer):
        safe, unsafe = (world.plain.last(side, layer).mean(0) for side in sides)
        s = safe - unsafe
        m = (world.plain.last([shown], layer) - world.plain.last([plain], layer))[0]
        return By(layer, "last_prompt", lambda h: h - strength * (m @ s) / (s @ s) * s)

    setting = method(world.fitting, config).setting(None, strength)
    require_same(world, setting, shown, [change(layer) for layer in (3, 4, 5)])


def test_without_a_picture_there_is_nothing_to_remove(world, config):
    change = method(world.fitting, config).setting(None, 1.0).intervention
    plain, shown = world.shown(picture=False), world.shown()
    assert change.edits_for([plain]) == [()]
    mixed = change.edits_for([plain, shown, plain])
    assert [len(edits) for edits in mixed] == [0, 3, 0]


def test_a_run_without_pictures_is_refused(world, config):
    plain = [example for example in world.examples if example.picture is None]
    with pytest.raises(CalibError, match=r"method=shiftdc .*none .* a picture\. Choose other data"):
        check(config, world.vlm, plain)
    check(config, world.vlm, world.examples)


def test_a_file_without_a_caption_is_refused(world, captions, tmp_path):
    path = tmp_path / "captions.csv"
    some = dict(list(captions.items())[1:])
    path.write_text("id,caption\n" + "".join(f"{k},{v}\n" for k, v in some.items()))
    first, count = next(iter(captions)), len(captions)
    said = rf"captions.csv lacks 1 of {count} captions \(first: {first}\)\. Add them, or leave"
    with pytest.raises(CalibError, match=said):
        check(Captioned("shiftdc", captions=str(path)), world.vlm, world.examples)


@pytest.mark.parametrize("text", [None, "id,words\na,b\n"])
def test_a_file_that_cannot_be_read_is_refused(world, tmp_path, text):
    path = tmp_path / "captions.csv"
    if text:
        path.write_text(text)
    with pytest.raises(CalibError, match="cannot be read .* with columns id and caption"):
        check(Captioned("shiftdc", captions=str(path)), world.vlm, world.examples)


def test_without_words_to_ask_for_captions_it_is_refused(world):
    with pytest.raises(CalibError, match="shiftdc has no words to say: give method.question"):
        check(Captioned("shiftdc"), world.vlm, world.examples)
