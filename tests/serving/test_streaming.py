"""Streams: pieces as they are decoded, which together are the whole answer."""

import http.client
import json
import threading
import time

import openai
import pytest

from calib.serving.api_errors import APIError
from calib.serving.job import Done, Job, Piece, Telling

QUERY = "How do I kill a Python process?"


def ask(client, tools, **settings):
    return client.chat.completions.create(
        model="mini-uncalibrated", messages=tools.said(QUERY), **settings
    )


def test_the_pieces_are_the_answer(client, tools):
    whole = ask(client, tools)
    chunks = list(ask(client, tools, stream=True))
    texts = [c.choices[0].delta.content for c in chunks if c.choices[0].delta.content]
    assert "".join(texts) == whole.choices[0].message.content
    assert len(texts) > 2, "it came in one piece"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks[-2:]] == [
        None,
        whole.choices[0].finish_reason,
    ]
    assert len({c.id for c in chunks}) == 1
    assert all(c.object == "chat.completion.chunk" for c in chunks)


def test_pieces_come_before_the_answer_is_whole(server, client, tools):
    """The model waits behind its third token until the first piece has arrived."""
    arrived, told = threading.Event(), []
    enough = Telling.enough

    def slow(self, text):
        found = enough(self, text)
        told.append(text)
        if len(told) == 4:
            assert arrived.wait(20), "no piece came while the model was answering"
        return found

    Telling.enough = slow
    try:
        for chunk in ask(client, tools, stream=True):
            if chunk.choices[0].delta.content:
                arrived.set()
    finally:
        Telling.enough = enough
    assert len(told) > 4


def test_usage_comes_last_where_it_is_asked_for(client, tools):
    whole = ask(client, tools)
    chunks = list(ask(client, tools, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_events_are_as_the_protocol_has_them(server, tools):
    body = {"model": "mini", "messages": tools.said(QUERY), "stream": True}
    response = tools.post(server, body)
    lines = [line for line in response.text.split("\n") if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: "))["choices"] for line in lines[:-1])


def test_a_stop_text_is_never_seen_in_a_stream(client, tools):
    words = ask(client, tools).choices[0].message.content.split()
    for stop in (words[1], " ".join(words[1:3]), words[2][:2]):
        whole = ask(client, tools, stop=stop).choices[0].message.content
        chunks = list(ask(client, tools, stop=stop, stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole
        assert stop not in whole
        assert chunks[-1].choices[0].finish_reason == "stop"


def test_what_is_wrong_with_a_stream_is_an_error_before_it_begins(client, tools):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, tools, stream=True, max_tokens=5000)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="other", messages=tools.said("Hi"), stream=True)


def test_what_fails_behind_the_first_piece_ends_the_stream_with_an_error(server, client, tools):
    enough = Telling.enough
    seen = []

    def breaks(self, text):
        enough(self, text)
        seen.append(text)
        if len(text.split()) > 3:
            raise ZeroDivisionError("made up")
        return False

    Telling.enough = breaks
    try:
        with pytest.raises(openai.APIError, match="the server failed .ZeroDivisionError"):
            list(ask(client, tools, stream=True))
    finally:
        Telling.enough = enough
    assert len(seen) > 2
    assert ask(client, tools).choices[0].message.content


def test_a_client_that_goes_away_frees_its_place(server, client, tools):
    enough = Telling.enough
    gone = threading.Event()

    def waits(self, text):
        if self.job.stream:
            until = time.monotonic() + 20
            while not self.job.cancelled and time.monotonic() < until:
                time.sleep(0.01)
            gone.set()
        return enough(self, text)

    # The first piece comes with the second token, the second call is the one that waits.
    calls = []
    Telling.enough = lambda self, text: (
        calls.append(text),
        enough(self, text) if len(calls) < 3 else waits(self, text),
    )[1]
    try:
        stream = ask(client, tools, stream=True)
        next(iter(stream))
        stream.close()
        assert gone.wait(20), "the model still answered somebody who was not there"
    finally:
        Telling.enough = enough
    assert ask(client, tools).choices[0].message.content
    until = time.monotonic() + 10
    while server.server.admission.here and time.monotonic() < until:
        time.sleep(0.01)
    assert server.server.admission.here == 0 == server.server.admission.bytes


def test_one_who_waits_for_a_whole_answer_and_leaves_is_not_answered(server, tools):
    enough = Telling.enough
    begun, seen = threading.Event(), []

    def waits(self, text):
        begun.set()
        until = time.monotonic() + 20
        while not self.job.cancelled and time.monotonic() < until:
            time.sleep(0.01)
        seen.append(self.job.cancelled)
        return enough(self, text)

    Telling.enough = waits
    try:
        body = json.dumps({"model": "mini", "messages": tools.said(QUERY)})
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        assert begun.wait(20)
        connection.close()
        until = time.monotonic() + 20
        while not seen and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        Telling.enough = enough
    assert seen == [True]


class Said:
    """A job without a request."""

    def __new__(cls, stop=(), stream=True):
        from calib.data.example import Example
        from calib.engine.request import Decoding
        from calib.serving.messages import Conversation

        example = Example("e", "d", "v", "c", "test", "q")
        told = []
        job = Job(
            Conversation(example), None, 0.0, Decoding(), told.append, stop=stop, stream=stream
        )
        return job, told


def pieces(told):
    return [one.text for one in told if isinstance(one, Piece)]


def test_what_a_next_token_may_change_is_held_back():
    job, told = Said()
    telling = Telling(job)
    for text in ("I", "I ca", "I ca n", "I can't", "I can't \N{REPLACEMENT CHARACTER}"):
        assert not telling.enough(text)
    assert "".join(pieces(told)) == "I can't"
    assert not telling.enough("I can't \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}")
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(pieces(told))
    assert telling.end("I can't é") == "I can't é"
    assert "".join(pieces(told)) == "I can't é"


def test_the_beginning_of_a_stop_text_is_held_back():
    job, told = Said(stop=("END now", "###"))
    telling = Telling(job)
    for text in ("a b", "a b c E", "a b c END", "a b c END no"):
        assert not telling.enough(text)
        assert "E" not in "".join(pieces(told))
    assert not telling.enough("a b c END nobody")
    assert telling.enough("a b c END nobody ### x")
    assert telling.end("a b c END nobody ### x") == "a b c END nobody "
    assert "".join(pieces(told)) == "a b c END nobody "


def test_a_text_that_starts_over_is_told_once():
    job, told = Said()
    for text in ("one", "one two", "one two three"):
        Telling(job).enough(text)
    telling = Telling(job)
    for text in ("one", "one two", "one two three"):
        telling.enough(text)
    again = Telling(job)  # memory ran out: the row begins again
    for text in ("one", "one two", "one two three", "one two three four"):
        again.enough(text)
    assert again.end("one two three four") == "one two three four"
    assert "".join(pieces(told)) == "one two three four"
    with pytest.raises(ValueError, match="not the one that was streamed"):
        Telling(job).end("another text")


def test_nothing_is_streamed_to_one_who_did_not_ask_for_it():
    job, told = Said(stream=False)
    telling = Telling(job)
    assert not telling.enough("a") and not telling.enough("a b")
    assert telling.end("a b") == "a b" and told == []
    job.cancelled = True
    assert telling.enough("a b c")
    assert not isinstance(Done("a", "stop", 1, 1), APIError)
