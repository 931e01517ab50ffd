"""Pictures of a request: limits before decoding, and decoding that holds up no other request."""

import io
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from server_thread import ServerThread, data_url, post, user_message, wait_until

from calib.serving import pictures
from calib.serving.http import limits
from calib.serving.messages import parse_messages
from calib.serving.pictures import InlineImage, PictureLimits

TEXT = {"model": "mini", "messages": user_message("Hello"), "max_tokens": 2}


def with_pictures(*urls):
    """A request with these pictures."""
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [*parts, {"type": "text", "text": "What is this?"}]
    return {**TEXT, "messages": [{"role": "user", "content": content}]}


def picture(width=20, height=20, colour=0):
    return data_url(Image.new("L", (width, height), colour))


def code_of(reply):
    return reply.status_code, reply.json()["error"]["code"]


@pytest.fixture(scope="module")
def bomb():
    """A PNG of 7,999 x 7,999 pixels in some 10 KiB, below the limit for pictures of benchmarks."""
    file = io.BytesIO()
    Image.new("1", (7999, 7999)).save(file, "PNG")
    assert len(file.getvalue()) < 12_000
    return data_url(Image.open(file))


@pytest.mark.parametrize("count", [1, 8])
def test_bombs_are_refused_without_decoding_them(server, bomb, monkeypatch, count):
    decoded = []
    monkeypatch.setattr(pictures, "read_image", lambda *args: decoded.append(args))
    reply = post(server, with_pictures(*[bomb] * count))
    assert code_of(reply) == (400, "image_too_large") and not decoded
    assert max(len(each) for each in re.findall("[0-9,]+", reply.json()["error"]["message"])) < 14
    assert reply.json()["error"]["param"] == "messages[0].content[0].image_url.url"
    assert post(server, TEXT).status_code == 200


def test_pictures_are_limited_in_number_total_size_and_proportion(steered):
    few = PictureLimits(pictures=2, pixels=1000)
    with ServerThread(steered, pictures=few) as server:
        accepted = post(server, with_pictures(picture(), picture(30, 20)))
        assert accepted.status_code == 200
        for urls, code in (
            ([picture()] * 3, "too_many_images"),
            ([picture(), picture(31, 20)], "image_too_large"),
            ([picture(51, 1)], "invalid_image"),
        ):
            assert code_of(post(server, with_pictures(*urls))) == (400, code)
        # The limits are those of a request, over all of its messages.
        turns = with_pictures(picture())["messages"]
        said = {"role": "assistant", "content": "No."}
        body = {**TEXT, "messages": [*turns, said, *turns, said, *turns]}
        assert code_of(post(server, body)) == (400, "too_many_images")


def test_decoded_pictures_count_as_memory_of_open_requests(steered, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TOTAL_BYTES", 100_000)
    with ServerThread(steered) as server:
        assert code_of(post(server, with_pictures(picture(200, 200)))) == (429, "queue_full")
        assert post(server, with_pictures(picture(100, 100))).status_code == 200
        assert wait_until(lambda: server.limits.open_bytes == 0)


def test_a_request_without_pictures_does_not_wait_for_those_that_are_decoded(server, monkeypatch):
    proceed, decoding, decode = threading.Event(), threading.Semaphore(0), InlineImage.decode

    def wait(self, max_pixels):
        decoding.release()
        proceed.wait(30)
        decode(self, max_pixels)

    monkeypatch.setattr(InlineImage, "decode", wait)
    with ThreadPoolExecutor(5) as pool:
        # More requests than are decoded at once.
        waiting = [pool.submit(post, server, with_pictures(picture())) for _ in range(5)]
        assert decoding.acquire(timeout=30)
        assert post(server, TEXT).status_code == 200
        assert not any(future.done() for future in waiting)
        proceed.set()
        assert [future.result().status_code for future in waiting] == [200] * 5


def test_pictures_are_decoded_once_and_not_by_the_worker(server, monkeypatch):
    threads, read_image = [], pictures.read_image

    def record(*args):
        threads.append(threading.current_thread().name)
        return read_image(*args)

    monkeypatch.setattr(pictures, "read_image", record)
    urls = [picture(colour=colour) for colour in (1, 2, 3)]
    assert post(server, with_pictures(*urls)).status_code == 200
    assert len(threads) == 3 and "calib worker" not in threads


def test_damage_after_the_header_names_the_picture(server):
    noise = Image.effect_noise((64, 64), 90)
    damaged = data_url(noise)[:2022]  # whole groups of base64
    reply = post(server, with_pictures(picture(), damaged))
    assert code_of(reply) == (400, "invalid_image")
    assert reply.json()["error"]["param"] == "messages[0].content[1].image_url.url"


def test_pictures_are_scaled_down_where_they_are_decoded():
    conversation = parse_messages(with_pictures(picture(40, 30))["messages"])
    assert conversation.pixels == 1200
    conversation.decode_images(300)
    assert conversation.example.picture().size == (20, 15) and conversation.pixels == 300
