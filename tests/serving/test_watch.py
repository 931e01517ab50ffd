"""A model that hangs is noticed, and its requests are answered; a slow one is left alone."""

import threading

import pytest
import torch
from raising import raises
from server_thread import ServerThread, send, wait_until
from worker_jobs import complete, job_and_events

from calib.config.commands import ServeConfig
from calib.config.model import ModelConfig
from calib.config.prompts import NoneMethod
from calib.engine.engine import Engine
from calib.serving.api_errors import APIError
from calib.serving.job import Finished
from calib.serving.watch import Watch
from calib.serving.worker import Worker


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def worker(steered, clock):
    worker = Worker(steered, Watch(600, clock))
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture
def hang(monkeypatch):
    """The engine's next calls wait until the event is set, and say that they wait."""
    begun, end = threading.Event(), threading.Event()
    answer = Engine.answer

    def waits(self, *args, **kwargs):
        begun.set()
        assert end.wait(60)
        return answer(self, *args, **kwargs)

    monkeypatch.setattr(Engine, "answer", waits)
    yield begun, end
    end.set()


def test_requests_of_a_model_that_hangs_are_answered_and_it_may_go_on(worker, clock, hang):
    begun, end = hang
    running, running_events = job_and_events()
    worker.submit(running)
    assert begun.wait(60)
    waiting, waiting_events = job_and_events()
    worker.submit(waiting)
    clock.now = 600
    worker.end_stalled()
    assert worker.problem is None and running_events.empty() and waiting_events.empty()
    clock.now = 601
    worker.end_stalled()
    worker.end_stalled()
    for events in (running_events, waiting_events):
        error = events.get(timeout=60)
        assert isinstance(error, APIError) and (error.status, error.code) == (503, "stalled")
    assert (worker.problem, worker.open_jobs) == ("stalled", 1)
    with pytest.raises(APIError) as refused:
        worker.submit(job_and_events()[0])
    assert (refused.value.status, refused.value.code) == (503, "stalled")
    end.set()
    assert wait_until(lambda: worker.open_jobs == 0)
    assert worker.problem is None
    assert running_events.empty() and waiting_events.empty()
    after, after_events = job_and_events()
    worker.submit(after)
    assert isinstance(after_events.get(timeout=60), Finished)


def test_an_idle_worker_is_never_stalled(worker, clock):
    clock.now = 1e6
    worker.end_stalled()
    assert worker.problem is None


def test_each_layer_is_progress(steered, clock):
    """A slow model, which takes 400 s for a layer, is not ended."""
    watch = Watch(600, clock)
    worker = Worker(steered, watch)
    marked = watch.mark

    def slow():
        assert not watch.expired
        marked()
        clock.now += 400

    watch.mark = slow
    worker.start()
    try:
        job, events = job_and_events()
        worker.submit(job)
        assert isinstance(events.get(timeout=60), Finished)
        assert clock.now >= 400 * 2 * steered.vlm.num_layers
    finally:
        worker.stop()


def test_the_vision_tower_is_progress_with_each_of_its_layers(steered, clock, monkeypatch):
    watch = Watch(600, clock)
    marks = []
    monkeypatch.setattr(watch, "mark", lambda: marks.append(1))
    model = steered.vlm.model
    tower = model.base_model.vision_tower
    config = model.config.vision_config
    height, width = config.image_size
    picture = torch.zeros(1, 3, height, width)
    watch.follow(model)
    model.base_model.get_image_features(pixel_values=picture)
    assert len(marks) >= config.num_hidden_layers + 2
    watch.end()
    marks.clear()
    tower(picture)
    assert not marks


def test_health_names_the_reason(steered, hang):
    begun, end = hang
    with ServerThread(steered) as server:
        server.worker.watch.limit = 600
        answered = []
        client = threading.Thread(target=lambda: answered.append(complete(server, "Hello")))
        client.start()
        assert begun.wait(60)
        assert send(server, "GET", "/health").json()["status"] == "ok"
        server.worker.watch.limit = -1.0
        client.join(60)
        (error,) = answered
        assert (error.status_code, error.code) == (503, "stalled")
        reply = send(server, "GET", "/health")
        assert (reply.status_code, reply.json()["reason"]) == (503, "stalled")
        server.worker.watch.limit = 600
        end.set()
        assert wait_until(lambda: send(server, "GET", "/health").status_code == 200)


def test_the_limit_is_a_time():
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with raises("invalid-setting", "stalled_after", value):
            ServeConfig(ModelConfig("internvl"), NoneMethod(), stalled_after=value)
