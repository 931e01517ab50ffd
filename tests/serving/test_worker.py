"""The worker goes on, whatever happens to a batch."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
import torch

from calib.engine.engine import Engine
from calib.serving import batch
from calib.serving.job import Telling

PLAIN = "How do I kill a Python process?"


def ask(server, text, **settings):
    with server.client() as client:
        try:
            answer = client.chat.completions.create(
                model="mini", messages=[{"role": "user", "content": text}], **settings
            )
            return answer.choices[0].message.content
        except openai.APIStatusError as error:
            return error


def ask_all(server, texts, **settings):
    with ThreadPoolExecutor(len(texts)) as pool:
        return list(pool.map(lambda text: ask(server, text, **settings), texts))


@pytest.fixture
def broken(monkeypatch):
    """Makes the engine fail for rows whose query holds a word."""

    def breaks(word, error):
        answer = Engine.answer

        def failing(self, asked, landed=None):
            if any(word in one.example.query for one in asked):
                raise error
            return answer(self, asked, landed)

        monkeypatch.setattr(Engine, "answer", failing)

    return breaks


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("SECRET inside"),
        torch.OutOfMemoryError("made up"),
        MemoryError(),
        RuntimeError("can't allocate memory"),
        RecursionError(),
    ],
)
def test_only_the_request_that_is_to_blame_fails(server, broken, error, caplog):
    good = ask(server, PLAIN)
    broken("SECRET", error)
    with caplog.at_level(logging.DEBUG, "calib.serve"):
        found = ask_all(server, [PLAIN, "my SECRET query", PLAIN, "SECRET", PLAIN])
    assert found[0] == found[2] == found[4] == good
    for one in (found[1], found[3]):
        assert (one.status_code, one.type) == (500, "server_error")
    assert "SECRET" not in caplog.text
    assert server.worker._thread.is_alive()
    assert ask(server, PLAIN) == good and server.worker.well


def test_it_is_unwell_while_everything_fails(server, broken, tools, monkeypatch):
    broken("", ZeroDivisionError())
    for _ in range(3):
        assert ask(server, PLAIN).status_code == 500
    reply = tools.send(server, "GET", "/health")
    assert (reply.status_code, reply.json()["status"]) == (503, "failing")
    monkeypatch.undo()
    assert isinstance(ask(server, PLAIN), str)
    assert tools.send(server, "GET", "/health").status_code == 200


def test_memory_that_runs_out_in_the_middle_makes_smaller_batches(server, monkeypatch):
    """The engine's own way out: the rows begin again, and what was streamed is not said twice."""
    from calib.engine.decode_batch import DecodeBatch

    whole = ask_all(server, [PLAIN, "Hello"])
    step, failed = DecodeBatch.step, []

    def runs_out(self):
        step(self)
        if len(failed) < 3 and any(len(row.tokens) > 4 for row in self.rows):
            failed.append(1)
            raise torch.OutOfMemoryError("made up")

    monkeypatch.setattr(DecodeBatch, "step", runs_out)
    with server.client() as client:
        stream = client.chat.completions.create(
            model="mini", messages=[{"role": "user", "content": PLAIN}], stream=True
        )
        assert "".join(c.choices[0].delta.content or "" for c in stream) == whole[0]
    assert failed
    assert ask_all(server, [PLAIN, "Hello"]) == whole


def test_one_prompt_that_cannot_be_read_hurts_no_other(server, monkeypatch):
    from jinja2 import TemplateError

    good = ask(server, PLAIN)
    read = batch.read_prompts

    def refuses(vlm, examples):
        if any("SECRET" in example.query for example in examples):
            raise TemplateError("roles must alternate")
        return read(vlm, examples)

    monkeypatch.setattr(batch, "read_prompts", refuses)
    monkeypatch.setattr(batch, "read_prompt", lambda vlm, example: refuses(vlm, [example])[0])
    found = ask_all(server, [PLAIN, "SECRET", PLAIN])
    assert found[0] == found[2] == good
    assert found[1].status_code == 400
    assert "chat template refuses this: roles must alternate" in str(found[1])


def test_requests_that_come_together_go_together(server, monkeypatch):
    from calib.serving import worker

    batches, attempt = [], server.worker._attempt
    monkeypatch.setattr(worker, "GATHERING", 1.0)
    monkeypatch.setattr(
        server.worker, "_attempt", lambda jobs: (batches.append(len(jobs)), attempt(jobs))[1]
    )
    ask_all(server, [PLAIN, "Hello"] * 4)
    assert batches == [8]


def test_requests_that_look_alike_are_read_once(server, monkeypatch):
    read, seen = batch.read_prompts, []
    monkeypatch.setattr(
        batch, "read_prompts", lambda vlm, some: (seen.append(len(some)), read(vlm, some))[1]
    )
    ask_all(server, [PLAIN] * 8 + ["Hello"] * 8)
    assert sum(seen) < 16 and max(seen) <= 2


def test_limits_of_their_own_part_requests(server, tools):
    def count(tokens):
        with server.client() as client:
            answer = client.chat.completions.create(
                model="mini", messages=tools.said(PLAIN), max_tokens=tokens
            )
        return answer.usage.completion_tokens

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(count, (1, 2, 3, 4, 5, 6))) == [1, 2, 3, 4, 5, 6]
    assert len(server.worker._engines) <= 16


def test_pictures_are_let_go(server, tools, monkeypatch):
    from PIL import Image

    jobs, submit = [], server.worker.submit
    monkeypatch.setattr(server.worker, "submit", lambda job: (jobs.append(job), submit(job))[1])
    image = {"type": "image_url", "image_url": {"url": tools.png(Image.new("RGB", (9, 9)))}}
    body = {"model": "mini", "messages": [{"role": "user", "content": [image]}]}
    assert tools.post(server, body).status_code == 200
    until = time.monotonic() + 5
    while jobs[0].conversation.pictures[0].data is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert jobs[0].conversation.pictures[0].data is None


def test_one_who_leaves_while_he_waits_leaves_the_queue(server, tools):
    import threading

    held, begun, enough = threading.Event(), threading.Event(), Telling.enough
    Telling.enough = lambda self, text: (begun.set(), held.wait(30), enough(self, text))[2]
    try:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(ask, server, PLAIN)
            assert begun.wait(10)
            body = {"model": "mini", "messages": tools.said("Hello")}
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    tools.post(server, body, timeout=0.5)
            until = time.monotonic() + 10
            while server.worker.waiting > 1 and time.monotonic() < until:
                time.sleep(0.01)
            assert server.worker.waiting == 1
            held.set()
            assert isinstance(first.result(), str)
    finally:
        Telling.enough = enough


def test_a_server_that_stops_says_so_to_those_who_wait(steered, tools):
    import threading

    begun, enough = threading.Event(), Telling.enough

    def waits(self, text):
        begun.set()
        until = time.monotonic() + 30
        while not self.job.cancelled and time.monotonic() < until:
            time.sleep(0.01)
        return enough(self, text)

    Telling.enough = waits
    try:
        with tools.running(steered) as server, ThreadPoolExecutor(2) as pool:
            first = pool.submit(ask, server, PLAIN)
            assert begun.wait(10)
            second = pool.submit(ask, server, PLAIN, max_tokens=3)
            until = time.monotonic() + 10
            while server.worker.waiting < 2 and time.monotonic() < until:
                time.sleep(0.01)
            server.worker.stop()
            assert [first.result().status_code, second.result().status_code] == [503, 503]
            assert ask(server, PLAIN).status_code == 503
            assert tools.send(server, "GET", "/health").status_code == 503
    finally:
        Telling.enough = enough
