"""The worker survives every failure of a batch, a job or a client."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image
from raising import raises
from server_thread import ServerThread, data_url, post, send, user_message, wait_until
from worker_jobs import complete, job_and_events

from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.serving import batch
from calib.serving.api_errors import APIError
from calib.serving.job import Finished, Job, ResponseTracker
from calib.serving.warm_up import WARM_UP_EXAMPLES, warm_up
from calib.serving.worker import MAX_ENGINES, Worker
from calib.util.errors import CalibError

QUERY = "How do I kill a Python process?"


def complete_all(server, texts, **settings):
    with ThreadPoolExecutor(len(texts)) as pool:
        return list(pool.map(lambda text: complete(server, text, **settings), texts))


@pytest.fixture
def break_engine(monkeypatch):
    """Makes the engine raise an error for queries that contain a word."""

    def break_for(word, error):
        answer = Engine.answer

        def failing(self, requests, *args, **kwargs):
            if any(word in request.example.query for request in requests):
                raise error
            return answer(self, requests, *args, **kwargs)

        monkeypatch.setattr(Engine, "answer", failing)

    return break_for


@pytest.fixture
def worker(steered):
    """A worker without a server, stopped at the end."""
    worker = Worker(steered)
    yield worker
    worker.stop()


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("SECRET inside"),
        torch.OutOfMemoryError("made up"),
        MemoryError(),
        RuntimeError("can't allocate memory"),
        RecursionError(),
        SystemExit(),
    ],
)
def test_only_the_requests_at_fault_fail(server, break_engine, error, caplog):
    expected = complete(server, QUERY)
    break_engine("SECRET", error)
    with caplog.at_level(logging.DEBUG, "calib.serve"):
        responses = complete_all(server, [QUERY, "my SECRET query", QUERY, "SECRET", QUERY])
    assert responses[0] == responses[2] == responses[4] == expected
    for failed in (responses[1], responses[3]):
        assert (failed.status_code, failed.type) == (500, "server_error")
    assert "SECRET" not in caplog.text
    assert complete(server, QUERY) == expected and server.worker.problem is None


def test_the_server_is_unhealthy_while_everything_fails(server, break_engine, monkeypatch):
    break_engine("", ZeroDivisionError())
    for _ in range(3):
        assert complete(server, QUERY).status_code == 500
    reply = send(server, "GET", "/health")
    assert (reply.status_code, reply.json()["status"]) == (503, "failing")
    monkeypatch.undo()
    assert isinstance(complete(server, QUERY), str)
    assert send(server, "GET", "/health").status_code == 200


def test_jobs_cancelled_while_requests_are_gathered_do_not_end_the_worker(worker, monkeypatch):
    """Regression: the only waiting client disconnected between two looks at the queue."""
    first, first_events = job_and_events()
    gathered = threading.Event()

    def disconnect():
        worker.cancel(first)
        gathered.set()

    monkeypatch.setattr(worker, "_gather", disconnect)
    worker.start()
    worker.submit(first)
    assert gathered.wait(30)
    second, second_events = job_and_events()
    worker.submit(second)
    assert isinstance(second_events.get(timeout=60), Finished)
    assert first_events.empty() and worker.problem is None and worker.open_jobs == 0


def test_a_job_whose_events_cannot_be_delivered_does_not_end_the_worker(worker):
    def notify(event):
        raise ValueError("made up")

    worker.start()
    broken, _ = job_and_events(notify)
    worker.submit(broken)
    assert wait_until(lambda: worker.open_jobs == 0)
    job, events = job_and_events()
    worker.submit(job)
    assert isinstance(events.get(timeout=60), Finished)


def test_requests_get_503_when_the_worker_thread_has_ended(steered):
    with ServerThread(steered) as server:
        waiting, events = job_and_events()

        def fail():
            raise ZeroDivisionError("a defect of the worker itself")

        server.worker._gather = fail
        server.worker.submit(waiting)
        error = events.get(timeout=60)
        assert isinstance(error, APIError) and error.status == 503
        assert complete(server, QUERY).status_code == 503
        assert send(server, "GET", "/health").status_code == 503
        with pytest.raises(APIError) as caught:
            server.worker.submit(job_and_events()[0])
        assert caught.value.status == 503


def test_a_thread_that_has_ended_is_replaced_and_waiting_jobs_are_answered(worker, monkeypatch):
    run, ended = worker._run, []

    def end_once(jobs):
        if not ended:
            ended.append(1)
            raise SystemExit("a defect of the worker itself")
        run(jobs)

    monkeypatch.setattr(worker, "_run", end_once)
    interrupted, interrupted_events = job_and_events()
    # Another decoding setting, so that it is not in the same batch.
    waiting, waiting_events = job_and_events(max_new_tokens=3)
    worker.submit(interrupted)
    worker.submit(waiting)
    worker.start()
    assert isinstance(waiting_events.get(timeout=60), Finished)
    error = interrupted_events.get(timeout=60)
    assert isinstance(error, APIError) and (error.status, error.code) == (503, "worker_ended")
    assert worker.problem is None and worker.restarts == 1 and worker.open_jobs == 0


def test_a_thread_is_replaced_again_only_after_a_successful_batch(worker, monkeypatch):
    gather, ends = worker._gather, iter([True, False, True, False, True, True])

    def end_sometimes():
        if next(ends):
            raise SystemExit
        gather()

    monkeypatch.setattr(worker, "_gather", end_sometimes)
    worker.start()
    outcomes = []
    for _ in range(3):
        job, events = job_and_events()
        worker.submit(job)
        outcomes.append(type(events.get(timeout=60)))
    assert outcomes == [Finished, Finished, APIError] and worker.restarts == 3
    with pytest.raises(APIError) as caught:
        worker.submit(job_and_events()[0])
    assert caught.value.status == 503


def test_a_dead_thread_is_noticed_when_a_job_is_submitted(worker):
    worker._thread = threading.Thread(target=lambda: None)
    worker._thread.start()
    worker._thread.join()
    with pytest.raises(APIError) as caught:
        worker.submit(job_and_events()[0])
    assert (caught.value.status, caught.value.code) == (503, "worker_ended")
    assert worker.problem == "worker_ended"


def test_a_job_that_gets_no_response_gets_an_error(worker, monkeypatch):
    monkeypatch.setattr(worker, "_answer", lambda jobs: None)
    worker.start()
    job, events = job_and_events()
    worker.submit(job)
    assert events.get(timeout=60).status == 500


def test_large_pictures_get_batches_of_their_own_in_turn_with_other_jobs(worker, monkeypatch):
    jobs = [job_and_events()[0] for _ in range(6)]
    large = jobs[:3]
    monkeypatch.setattr(Job, "large", property(lambda job: job in large))
    waiting, batches = jobs, []
    while waiting:
        batch, waiting = worker._split(waiting)
        batches.append(batch)
    assert batches == [jobs[3:], large[:1], large[1:2], large[2:]]
    first, rest = worker._split([*large, jobs[3]])
    second, rest = worker._split([*rest, jobs[4]])
    assert (first, second) == ([jobs[3]], [large[0]])
    assert worker._split(rest)[0] == [jobs[4]]


def test_out_of_memory_while_decoding_shrinks_the_batch_and_streams_no_text_twice(
    server, monkeypatch
):
    from calib.engine.batches.decode_batch import DecodeBatch

    expected = complete_all(server, [QUERY, "Hello"])
    step, failures = DecodeBatch.step, []

    def out_of_memory(self):
        step(self)
        if len(failures) < 3 and any(len(row.tokens) > 4 for row in self.rows):
            failures.append(1)
            raise torch.OutOfMemoryError("made up")

    monkeypatch.setattr(DecodeBatch, "step", out_of_memory)
    with server.client() as client:
        stream = client.chat.completions.create(
            model="mini", messages=user_message(QUERY), stream=True
        )
        assert "".join(c.choices[0].delta.content or "" for c in stream) == expected[0]
    assert failures
    assert complete_all(server, [QUERY, "Hello"]) == expected


def test_a_prompt_that_cannot_be_read_fails_alone(server, monkeypatch):
    from jinja2 import TemplateError

    expected = complete(server, QUERY)
    read = batch.read_prompts

    def refuse(vlm, examples):
        if any("SECRET" in example.query for example in examples):
            raise TemplateError("roles must alternate")
        return read(vlm, examples)

    monkeypatch.setattr(batch, "read_prompts", refuse)
    monkeypatch.setattr(batch, "read_prompt", lambda vlm, example: refuse(vlm, [example])[0])
    responses = complete_all(server, [QUERY, "SECRET", QUERY])
    assert responses[0] == responses[2] == expected
    assert (responses[1].status_code, responses[1].param) == (400, "messages")
    assert "roles must alternate" in str(responses[1])


def test_requests_sent_together_share_a_batch(server, monkeypatch):
    worker, batches, attempt = server.worker, [], server.worker._attempt
    monkeypatch.setattr(worker, "_gather", lambda: wait_until(lambda: worker.open_jobs == 8))
    monkeypatch.setattr(
        worker, "_attempt", lambda jobs: (batches.append(len(jobs)), attempt(jobs))[1]
    )
    complete_all(server, [QUERY, "Hello"] * 4)
    assert batches == [8]


def test_equal_prompts_are_read_once(server, monkeypatch):
    worker, read, counts = server.worker, batch.read_prompts, []
    monkeypatch.setattr(worker, "_gather", lambda: wait_until(lambda: worker.open_jobs == 16))
    monkeypatch.setattr(
        batch,
        "read_prompts",
        lambda vlm, examples: (counts.append(len(examples)), read(vlm, examples))[1],
    )
    complete_all(server, [QUERY] * 8 + ["Hello"] * 8)
    assert counts == [2]


def test_requests_with_different_token_limits_get_batches_of_their_own(server):
    def count(limit):
        with server.client() as client:
            completion = client.chat.completions.create(
                model="mini", messages=user_message(QUERY), max_tokens=limit
            )
        return completion.usage.completion_tokens

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(count, (1, 2, 3, 4, 5, 6))) == [1, 2, 3, 4, 5, 6]
    assert len(server.worker._engines) <= MAX_ENGINES


def test_images_are_released_after_the_response(server, monkeypatch):
    jobs, submit = [], server.worker.submit
    monkeypatch.setattr(server.worker, "submit", lambda job: (jobs.append(job), submit(job))[1])
    image = {"type": "image_url", "image_url": {"url": data_url(Image.new("RGB", (9, 9)))}}
    body = {"model": "mini", "messages": [{"role": "user", "content": [image]}]}
    assert post(server, body).status_code == 200
    assert wait_until(lambda: jobs[0].conversation.images[0]._decoded is None)


def test_a_client_that_disconnects_while_it_waits_leaves_the_queue(server, monkeypatch):
    proceed, started, update = threading.Event(), threading.Event(), ResponseTracker.update
    monkeypatch.setattr(
        ResponseTracker,
        "update",
        lambda self, text: (started.set(), proceed.wait(30), update(self, text))[2],
    )
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(complete, server, QUERY)
        assert started.wait(30)
        body = {"model": "mini", "messages": user_message("Hello")}
        for _ in range(3):
            with pytest.raises(TimeoutError):
                post(server, body, timeout=0.5)
        assert wait_until(lambda: server.worker.open_jobs == 1)
        proceed.set()
        assert isinstance(first.result(), str)


def test_open_requests_get_503_when_the_server_stops(steered, monkeypatch):
    started, update = threading.Event(), ResponseTracker.update

    def wait_for_cancellation(self, text):
        started.set()
        wait_until(lambda: self.job.cancelled)
        return update(self, text)

    monkeypatch.setattr(ResponseTracker, "update", wait_for_cancellation)
    with ServerThread(steered) as server, ThreadPoolExecutor(2) as pool:
        running = pool.submit(complete, server, QUERY)
        assert started.wait(30)
        waiting = pool.submit(complete, server, QUERY, max_tokens=3)
        assert wait_until(lambda: server.worker.open_jobs == 2)
        server.worker.stop()
        assert [running.result().status_code, waiting.result().status_code] == [503, 503]
        assert complete(server, QUERY).status_code == 503
        assert send(server, "GET", "/health").status_code == 503


def test_warm_up_reports_requests_that_the_model_cannot_answer(steered, break_engine, monkeypatch):
    decoding = Decoding(max_new_tokens=2, kl=False)
    assert warm_up(steered, decoding) == []
    answer = Engine.answer

    def no_images(self, requests, *args, **kwargs):
        if requests[0].example.picture is not None:
            raise CalibError("unsupported", "no images")
        return answer(self, requests, *args, **kwargs)

    monkeypatch.setattr(Engine, "answer", no_images)
    (message,) = warm_up(steered, decoding)
    assert WARM_UP_EXAMPLES[1].id in message and "no images" in message
    break_engine("", CalibError("unsupported", "nothing works"))
    with raises("unsupported", "nothing works"):
        warm_up(steered, decoding)
