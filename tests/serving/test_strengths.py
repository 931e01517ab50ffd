"""Requests that are answered at several strengths at once, and projections of their tokens."""

import json

import pytest
import torch
from server_thread import TOKENS, messages_of, post, user_message

from calib.directions.projections import project
from calib.engine.activations import read_activations
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.serving.worker import Worker

STRENGTHS = [0, 4, -2.5]


def body(messages, stream=False, model="mini", **calib):
    return {"model": model, "messages": messages, "stream": stream, "calib": calib}


def events(reply):
    lines = [line.removeprefix("data: ") for line in reply.text.split("\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def pictured(mixed_examples):
    return next(example for example in mixed_examples if example.picture)


@pytest.mark.parametrize("stream", [False, True])
def test_each_choice_has_the_response_of_its_strength(vlm, steered, server, pictured, stream,
                                                      monkeypatch):  # fmt: skip
    settings = [steered.setting(2, strength) for strength in STRENGTHS]
    requests = [Request(pictured, setting.intervention.edits) for setting in settings]
    expected = generate(vlm, requests, Decoding(max_new_tokens=TOKENS))
    assert len({response.text for response in expected}) > 1
    batches, attempt = [], Worker._attempt
    monkeypatch.setattr(
        Worker, "_attempt", lambda self, jobs: (batches.append(len(jobs)), attempt(self, jobs))[1]
    )
    reply = post(server, body(messages_of(pictured), stream, strengths=STRENGTHS, layer=2))
    assert batches == [3]
    if stream:
        texts, ends = ["", "", ""], [None, None, None]
        for event in events(reply):
            for choice in event["choices"]:
                texts[choice["index"]] += choice["delta"].get("content", "")
                ends[choice["index"]] = choice["finish_reason"] or ends[choice["index"]]
            calib = event["calib"]
    else:
        completion = reply.json()
        texts = [choice["message"]["content"] for choice in completion["choices"]]
        ends = [choice["finish_reason"] for choice in completion["choices"]]
        calib = completion["calib"]
        tokens = sum(len(response.tokens) for response in expected)
        assert completion["usage"]["completion_tokens"] == tokens
    assert texts == [response.text for response in expected]
    assert ends == [response.finish for response in expected]
    assert calib == {"method": "steer", "layer": 2, "strengths": STRENGTHS}


def test_large_pictures_are_shared_by_the_strengths_of_a_request(server, pictured, monkeypatch):
    monkeypatch.setattr("calib.serving.job.LARGE_PIXELS", 1)
    choices = post(server, body(messages_of(pictured), strengths=STRENGTHS)).json()["choices"]
    alone = [
        post(server, body(messages_of(pictured), strength=strength)).json()["choices"][0]
        for strength in STRENGTHS
    ]
    assert [one["message"] for one in choices] == [one["message"] for one in alone]


@pytest.mark.parametrize(
    ("calib", "param"),
    [
        ({"strengths": [1], "strength": 1}, "calib"),
        ({"strengths": []}, "calib.strengths"),
        ({"strengths": [1] * 17}, "calib.strengths"),
        ({"strengths": ["1"]}, "calib.strengths.0"),
        ({"strengths": 1}, "calib.strengths"),
        ({"projections": 1}, "calib.projections"),
        ({"projections": True, "layer": 4}, "calib.layer"),
    ],
)
def test_invalid_settings_are_refused(server, calib, param):
    reply = post(server, body(user_message("Hello"), **calib))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_what_an_uncalibrated_model_lacks_is_refused(server):
    for calib, param in (
        ({"strengths": [1]}, "calib"),
        ({"projections": True}, "calib.projections"),
    ):
        reply = post(server, body(user_message("Hello"), model="mini-uncalibrated", **calib))
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_projections_of_the_prompt_are_those_of_its_activations(
    vlm, steered, server, direction, pictured
):
    choices = post(
        server, body(messages_of(pictured), strengths=[0, 2], layer=3, projections=True)
    ).json()["choices"]
    plain, moved = (choice["projections"] for choice in choices)
    read = read_activations(vlm, [pictured], "last_prompt", layers=direction.layers)
    expected = project(direction, read)[0, direction.layers.index(3)]
    last = plain["prompt_tokens"] - 1
    assert plain["values"][last] == pytest.approx(float(expected), abs=1e-3)
    # The direction is added at all positions, so each prompt token moves by the strength.
    prompt = range(plain["prompt_tokens"])
    shift = torch.tensor([moved["values"][k] - plain["values"][k] for k in prompt])
    assert torch.allclose(shift, torch.full_like(shift, 2), atol=1e-2)
    assert len(plain["tokens"]) == len(plain["values"]) > plain["prompt_tokens"]
    ((start, end),) = plain["pictures"]
    assert (end - start, plain["grid"]) == (16, [4, 4])
    assert len(set(plain["tokens"][start:end])) == 1
    assert choices[0]["message"]["content"].startswith(plain["tokens"][last + 1].strip())


def test_a_stream_ends_each_choice_with_its_projections(server, pictured):
    asked = dict(strengths=[0, 2], layer=3, projections=True)
    whole = post(server, body(messages_of(pictured), **asked)).json()["choices"]
    streamed = [
        choice["projections"]
        for event in events(post(server, body(messages_of(pictured), True, **asked)))
        for choice in event["choices"]
        if choice["finish_reason"]
    ]
    assert sorted(map(str, streamed)) == sorted(str(choice["projections"]) for choice in whole)


def test_an_error_names_the_strength_that_it_is_about(server, pictured):
    reply = post(server, body(messages_of(pictured), strengths=[0, 1e38], layer=2)).json()
    assert (reply["error"]["code"], reply["error"]["param"]) == ("not_finite", "calib.strengths.1")
