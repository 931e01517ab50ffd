"""Examples as chat messages for a provider."""

import base64
import io
from dataclasses import replace

from PIL import Image
from raising import raises

from calib.data.example import Example, Turn, with_pictures
from calib.models.remote import NO_ANSWER, chat_messages, data_url

RED = Image.new("RGB", (40, 20), "red")
BLUE = Image.new("RGB", (30, 30), "blue")
EXAMPLE = Example("e", "image_centric", "drawn", "tools", "test", "What is this?")


def decoded(url):
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_query_alone_is_one_message():
    assert chat_messages(EXAMPLE, 64) == [{"role": "user", "content": "What is this?"}]


def test_order_of_system_prompt_demonstrations_and_images():
    turns = (Turn("And this?", "A door.", lambda: BLUE), Turn("Why?", "It is one."))
    example = replace(EXAMPLE, system="Be kind.", demonstrations=turns, picture=lambda: RED)
    system, *messages = chat_messages(example, 64)
    assert system == {"role": "system", "content": "Be kind."}
    roles = [message["role"] for message in messages]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    texts = [message["content"] for message in messages[1:4]]
    assert texts == ["A door.", "Why?", "It is one."]
    cases = ((messages[0], "And this?", BLUE), (messages[4], EXAMPLE.query, RED))
    for message, text, expected in cases:
        image, words = message["content"]
        assert words == {"type": "text", "text": text}
        sent = decoded(image["image_url"]["url"])
        assert (sent.size, sent.tobytes()) == (expected.size, expected.tobytes())


def test_several_images_of_a_turn_keep_their_order():
    example = with_pictures(EXAMPLE, [lambda: RED, lambda: BLUE])
    (message,) = chat_messages(example, 64)
    *images, words = message["content"]
    assert [decoded(image["image_url"]["url"]).tobytes() for image in images] == [
        RED.tobytes(), BLUE.tobytes(),
    ]  # fmt: skip
    assert words["text"] == EXAMPLE.query


def test_an_empty_response_becomes_a_placeholder():
    example = replace(EXAMPLE, demonstrations=(Turn("Why?", " \n"),))
    assert chat_messages(example, 64)[1] == {"role": "assistant", "content": NO_ANSWER}


def test_only_large_images_are_scaled():
    large = Image.new("RGB", (400, 100), "red")
    assert decoded(data_url(lambda: large, 200)).size == (200, 50)
    assert large.size == (400, 100)
    assert decoded(data_url(lambda: RED, 200)).size == (40, 20)


def test_a_response_prefix_is_rejected():
    with raises("unsupported", "'e'"):
        chat_messages(replace(EXAMPLE, response_prefix="Sure"), 64)
