"""Examples as messages: what a provider is sent."""

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from calib.data.example import Example, Turn
from calib.models.remote import NO_ANSWER, data_url, chat_messages
from calib.util.errors import CalibError

RED = Image.new("RGB", (40, 20), "red")
BLUE = Image.new("RGB", (30, 30), "blue")
EXAMPLE = Example("e", "image_centric", "drawn", "tools", "test", "What is this?")


def shown(url):
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_query_alone_is_one_message():
    assert chat_messages(EXAMPLE, 64) == [{"role": "user", "content": "What is this?"}]


def test_system_prompt_demonstrations_and_pictures_stand_in_order():
    turns = (Turn("And this?", "A door.", lambda: BLUE), Turn("Why?", "It is one."))
    example = replace(EXAMPLE, system="Be kind.", demonstrations=turns, picture=lambda: RED)
    system, *asked = chat_messages(example, 64)
    assert system == {"role": "system", "content": "Be kind."}
    assert [one["role"] for one in asked] == ["user", "assistant", "user", "assistant", "user"]
    assert [one["content"] for one in asked[1:4]] == ["A door.", "Why?", "It is one."]
    for message, text, picture in ((asked[0], "And this?", BLUE), (asked[4], EXAMPLE.query, RED)):
        image, words = message["content"]
        assert words == {"type": "text", "text": text}
        found = shown(image["image_url"]["url"])
        assert (found.size, found.tobytes()) == (picture.size, picture.tobytes())


def test_an_empty_response_is_no_empty_message():
    example = replace(EXAMPLE, demonstrations=(Turn("Why?", " \n"),))
    assert chat_messages(example, 64)[1] == {"role": "assistant", "content": NO_ANSWER}


def test_large_pictures_are_made_smaller_and_small_ones_left_alone():
    large = Image.new("RGB", (400, 100), "red")
    assert shown(data_url(lambda: large, 200)).size == (200, 50)
    assert large.size == (400, 100)
    assert shown(data_url(lambda: RED, 200)).size == (40, 20)


def test_how_a_response_begins_cannot_be_told():
    with pytest.raises(CalibError, match="'e' is to go on from given words"):
        chat_messages(replace(EXAMPLE, response_prefix="Sure"), 64)
