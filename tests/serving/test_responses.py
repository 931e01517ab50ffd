"""Streamed responses: text deltas as tokens are decoded, which join to the complete response."""

import http.client
import json
import threading

import openai
import pytest
from server_thread import post, user_message, wait_until

from calib.serving.job import ResponseTracker

QUERY = "How do I kill a Python process?"


def complete(client, **settings):
    return client.chat.completions.create(
        model="mini-uncalibrated", messages=user_message(QUERY), **settings
    )


def test_the_deltas_join_to_the_complete_response(client):
    completion = complete(client)
    chunks = list(complete(client, stream=True))
    texts = [c.choices[0].delta.content for c in chunks if c.choices[0].delta.content]
    assert "".join(texts) == completion.choices[0].message.content
    assert len(texts) > 2, "the response was not streamed"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks[-2:]] == [
        None,
        completion.choices[0].finish_reason,
    ]
    assert len({c.id for c in chunks}) == 1
    assert all(c.object == "chat.completion.chunk" for c in chunks)


def test_deltas_arrive_while_the_model_is_decoding(client, monkeypatch):
    """The model waits at its fourth token until the client has the first delta."""
    arrived, texts, update = threading.Event(), [], ResponseTracker.update

    def wait_for_client(self, text):
        ended = update(self, text)
        texts.append(text)
        if len(texts) == 4:
            assert arrived.wait(20), "no delta arrived while the model was decoding"
        return ended

    monkeypatch.setattr(ResponseTracker, "update", wait_for_client)
    for chunk in complete(client, stream=True):
        if chunk.choices[0].delta.content:
            arrived.set()
    assert len(texts) > 4


def test_usage_is_the_last_chunk_when_requested(client):
    completion = complete(client)
    chunks = list(complete(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage == completion.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_events_follow_the_protocol(server):
    reply = post(server, {"model": "mini", "messages": user_message(QUERY), "stream": True})
    lines = [line for line in reply.text.split("\n") if line]
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: "))["choices"] for line in lines[:-1])


def test_a_stop_sequence_is_never_streamed(client):
    words = complete(client).choices[0].message.content.split()
    for stop in (words[1], " ".join(words[1:3]), words[2][:2]):
        text = complete(client, stop=stop).choices[0].message.content
        chunks = list(complete(client, stop=stop, stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == text
        assert stop not in text
        assert chunks[-1].choices[0].finish_reason == "stop"


def test_an_invalid_request_gets_an_error_instead_of_a_stream(client):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, stream=True, max_tokens=5000)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="other", messages=user_message("Hi"), stream=True)


def test_a_failure_after_the_first_delta_ends_the_stream_with_an_error(client, monkeypatch):
    update, texts = ResponseTracker.update, []

    def fail(self, text):
        update(self, text)
        texts.append(text)
        if len(text.split()) > 3:
            raise ZeroDivisionError("made up")
        return False

    with monkeypatch.context() as patch:
        patch.setattr(ResponseTracker, "update", fail)
        with pytest.raises(openai.APIError) as caught:
            list(complete(client, stream=True))
    assert caught.value.code == "internal_error"
    assert "ZeroDivisionError" in str(caught.value)
    assert len(texts) > 2
    assert complete(client).choices[0].message.content


def test_a_client_that_closes_its_stream_frees_its_slot(server, client, monkeypatch):
    update, calls, ended = ResponseTracker.update, [], threading.Event()

    def wait_for_cancellation(self, text):
        # The first delta is sent with the second token.
        calls.append(text)
        if len(calls) >= 3:
            assert wait_until(lambda: self.job.cancelled)
            ended.set()
        return update(self, text)

    with monkeypatch.context() as patch:
        patch.setattr(ResponseTracker, "update", wait_for_cancellation)
        stream = complete(client, stream=True)
        next(iter(stream))
        stream.close()
        assert ended.wait(60), "the model still answered a client that had disconnected"
    assert complete(client).choices[0].message.content
    assert wait_until(lambda: server.limits.open_requests == 0)
    assert server.limits.open_bytes == 0


def test_a_client_that_disconnects_before_the_response_is_not_answered(server, monkeypatch):
    update, started, cancelled = ResponseTracker.update, threading.Event(), []

    def wait_for_cancellation(self, text):
        started.set()
        cancelled.append(wait_until(lambda: self.job.cancelled))
        return update(self, text)

    monkeypatch.setattr(ResponseTracker, "update", wait_for_cancellation)
    body = json.dumps({"model": "mini", "messages": user_message(QUERY)})
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    assert started.wait(20)
    connection.close()
    assert wait_until(lambda: cancelled)
    assert cancelled == [True]
