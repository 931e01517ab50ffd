import gc
import json
import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest
import torch
from raising import raises

pytest.importorskip("openai", reason="the vllm extra brings openai")
pytest.importorskip("zstandard", reason="the vllm extra brings zstandard")

from vllm_stand_in import TOO_LONG as TOO_LONG_MESSAGE  # noqa: E402
from vllm_stand_in import WIDTH, VllmStandIn, response_tokens  # noqa: E402

from calib.config.engine import VllmChoice  # noqa: E402
from calib.engine.vllm.request import NOT_FINITE, TOO_LONG, Hook, SteeringVector, VllmRequest  # noqa: E402
from calib.engine.vllm.server import replica, replicas  # noqa: E402
from calib.engine.vllm.server.backend import ServerBackend  # noqa: E402
from calib.models import backoff  # noqa: E402

KEY = "sk-a-secret-of-the-tests"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(backoff, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(replicas, "LONGEST_WAIT", 0.02)


@pytest.fixture
def server():
    with VllmStandIn() as server:
        yield server


def connect(*servers, **settings):
    config = VllmChoice(base_url=[server.url for server in servers], **settings)
    return ServerBackend(config, "mini-internvl")


def prompt(text, vectors=0, max_tokens=32, **fields):
    vector = SteeringVector((1,), torch.ones(1, WIDTH))
    messages = [{"role": "user", "content": text}]
    return VllmRequest(messages, max_tokens, vectors=(vector,) * vectors, **fields)


def prompts(count):
    """Requests that differ in prompt and vectors."""
    return [prompt(f"prompt {k}", k % 3) for k in range(count)]


def require_right(requests, completions):
    """Each request has one completion, which is its own."""
    completions = list(completions)
    assert sorted(index for index, _ in completions) == list(range(len(requests)))
    for index, completion in completions:
        request = requests[index]
        text = request.messages[-1]["content"]
        assert completion.tokens == response_tokens(text, len(request.vectors))


@pytest.mark.parametrize("window", [1, 7, 100])
def test_every_request_is_completed_once_with_at_most_a_window_in_flight(server, window):
    with connect(server) as backend:
        require_right(prompts(40), backend.complete(prompts(40), window))
    assert len(server.requests) == 40
    assert server.most_at_once <= window


def test_a_server_that_is_killed_three_times_costs_the_requests_in_flight(server):
    for number in (10, 25, 40):
        server.at(number, server.restarts())
    with connect(server) as backend:
        require_right(prompts(60), backend.complete(prompts(60), 5))
    assert server.starts == 4
    assert 60 < len(server.requests) <= 60 + 3 * 5


def test_a_server_that_is_down_for_a_while_is_waited_for(server, capfd):
    server.at(3, server.dies)
    with connect(server) as backend:
        completions = backend.complete(prompts(12), 2)
        first = [next(completions) for _ in range(2)]
        timer = threading.Timer(0.3, server.start)
        timer.start()
        require_right(prompts(12), [*first, *completions])
        timer.join()
    assert server.url in capfd.readouterr().err


def test_a_reply_that_would_fill_the_memory_is_given_up(server, monkeypatch):
    monkeypatch.setattr("calib.util.reply_limit.MAX_REPLY", 20_000)
    server.at(1, server.writes(" " * 20_001))
    with connect(server, retries=0) as backend:
        require_right(prompts(1), backend.complete(prompts(1), 1))
        with raises("endpoint", server.url, "20,000"):
            list(backend.complete(prompts(1), 1))


@pytest.mark.parametrize(
    "act",
    [
        lambda server: server.fails(503),
        lambda server: server.fails(500, "Call to collective_rpc method failed"),
        lambda server: server.fails(429, Retry_After="0"),
        lambda server: server.fails(502, "<html>proxy</html>"),
        lambda server: server.writes("<html>proxy</html>"),
        lambda server: server.writes('{"choices": []}'),
        lambda server: server.writes('{"choices": [{"mess'),
        lambda server: server.restarts(),
    ],
    ids=["503", "500", "429", "502", "page", "empty", "cut", "killed"],
)
def test_a_request_that_is_lost_is_sent_again(server, act):
    server.at(2, act(server))
    with connect(server) as backend:
        require_right(prompts(6), backend.complete(prompts(6), 1))
    assert len(server.requests) == 7
    assert server.requests[2] == server.requests[3]


def test_a_request_without_a_reply_is_sent_again(server):
    released = threading.Event()
    server.at(2, server.hangs(released))
    with connect(server, timeout=1, retries=9) as backend:
        require_right(prompts(6), backend.complete(prompts(6), 1))
    released.set()
    assert len(server.requests) >= 7  # more where other replies took longer, too
    assert server.requests.count(server.requests[2]) >= 2


def test_a_request_that_is_lost_too_often_ends_the_run(server):
    for number in range(3):
        server.at(number, server.fails(500, "out of memory"))
    with connect(server, retries=2) as backend, raises("endpoint", server.url, "out of memory"):
        list(backend.complete(prompts(1), 1))
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({"served_name": "other", "checkpoint": "other"}, ["other", "mini-internvl"]),
        ({"version": "0.33.0"}, ["version: 0.32.0 -> 0.33.0"]),
        ({"settings": "aaaaaaaa"}, ["vllm-0.32.0-aaaaaaaa"]),
        ({"vllm_lens": False}, ["vllm_lens: True -> False"]),
        ({"max_model_len": 2048}, ["max_model_len: 1024 -> 2048"]),
        ({"prefix_caching": "True"}, ["prefix_caching: False -> True"]),
    ],
    ids=["model", "version", "settings", "plugin", "context", "caching"],
)
def test_a_server_that_comes_back_as_something_else_is_refused(server, changes, values):
    server.at(5, server.restarts(**changes))
    completions = []
    with connect(server) as backend, raises("mismatch", server.url, *values):
        for index, completion in backend.complete(prompts(20), 1):
            completions.append((index, completion))
    require_right(prompts(5), completions)
    assert len(server.requests) == 6


@pytest.mark.parametrize("changes", [{"settings": "aaaaaaaa"}, {"version": "0.33.0"}])
def test_another_server_behind_the_same_connection_is_refused(server, changes):
    """As a load balancer may do it, without a lost connection."""
    with connect(server) as backend:
        completions = backend.complete(prompts(9), 1)
        require_right(prompts(1), [next(completions)])
        server.__dict__.update(changes)
        with raises("mismatch", "system_fingerprint"):
            list(completions)


def test_a_server_that_was_idle_says_again_what_it_serves(server, monkeypatch):
    with connect(server) as backend:
        require_right(prompts(3), backend.complete(prompts(3), 2))
        monkeypatch.setattr(replica, "IDLE_SECONDS", 0.1)
        time.sleep(0.2)
        require_right(prompts(3), backend.complete(prompts(3), 1))
        time.sleep(0.2)
        server.vllm_lens = False  # it was restarted in the meantime
        with raises("mismatch", "vllm_lens"):
            list(backend.complete(prompts(3), 1))


def test_the_replica_with_the_fewest_requests_is_next():
    released = threading.Event()
    with VllmStandIn() as slow, VllmStandIn() as fast:
        slow.at(0, slow.hangs(released))
        with connect(slow, fast) as backend:
            completions = []
            for completed in backend.complete(prompts(30), 2):
                completions.append(completed)
                if len(completions) == 29:
                    released.set()
            require_right(prompts(30), completions)
        assert len(slow.requests) < 5
        assert len(fast.requests) > 25


def test_no_replica_gets_more_requests_than_allowed():
    with VllmStandIn() as first, VllmStandIn() as second:
        with connect(first, second, rows_in_flight=3) as backend:
            assert backend.rows_in_flight == 6
            require_right(prompts(40), backend.complete(prompts(40), 100))
        assert max(first.most_at_once, second.most_at_once) <= 3


def test_a_replica_that_dies_is_left_out_and_used_again_when_it_is_back():
    with VllmStandIn() as first, VllmStandIn() as second:
        first.at(2, first.dies)
        with connect(first, second) as backend:
            require_right(prompts(30), backend.complete(prompts(30), 2))
            alone = len(second.requests)
            assert len(first.requests) <= 4
            first.start()
            while len(first.requests) <= 4:
                require_right(prompts(10), backend.complete(prompts(10), 4))
        assert alone >= 26


def test_replicas_must_serve_the_same():
    with VllmStandIn() as first, VllmStandIn(version="0.31.0") as second:
        with raises("mismatch", "version", "0.31.0", "0.32.0"):
            connect(first, second)
        # The same checkpoint in another folder is the same.
        with VllmStandIn("/scratch/mini-internvl") as third, connect(first, third) as backend:
            require_right(prompts(8), backend.complete(prompts(8), 4))
            assert backend.describe()["replicas"] == 2


def test_servers_that_cannot_be_reached(server):
    dead = VllmStandIn()
    with dead:
        pass
    with raises("endpoint", dead.url):
        connect(dead)
    with connect(dead, server) as backend:  # one that can is enough
        require_right(prompts(8), backend.complete(prompts(8), 4))


def test_a_server_that_does_not_come_back_ends_the_run(server):
    server.at(1, server.dies)
    with connect(server, restart_wait=0.002) as backend, raises("endpoint", "engine.restart_wait"):
        list(backend.complete(prompts(4), 1))


def test_the_model_is_found_by_the_checkpoint_or_by_its_given_name(server):
    other = VllmChoice(base_url=server.url)
    with raises("mismatch", "/models/mini_internvl", "org/other", "engine.served_model"):
        ServerBackend(other, "org/other")
    with raises("mismatch", "'alias'", "/models/mini_internvl"):
        connect(server, served_model="alias")
    server.served_name = "alias"
    with connect(server, served_model="alias") as backend:
        require_right(prompts(2), backend.complete(prompts(2), 2))
    assert server.requests[0]["model"] == "alias"
    with connect(server) as backend:  # by its root
        assert backend.describe()["model"] == "alias"


def test_prompts_and_responses_that_exceed_the_context(server):
    server.at(0, server.fails(400, TOO_LONG_MESSAGE))
    long = prompt("x" * 1010)  # the response does not fit and is cut without an error
    with connect(server) as backend:
        for request in (prompt("first"), long):
            ((_, completion),) = backend.complete([request], 1)
            assert completion.finish == TOO_LONG
            assert not completion.tokens
        ((_, completion),) = backend.complete([prompt("x" * 40, max_tokens=8)], 1)
    assert (completion.finish, len(completion.tokens)) == ("length", 8)


def test_a_request_that_the_server_refuses_ends_the_run(server):
    server.at(2, server.fails(400, "--trust-request-chat-template is not set"))
    received = []
    with connect(server) as backend, raises("endpoint", "--trust-request-chat-template"):
        for index, _ in backend.complete(prompts(9), 1):
            received.append(index)
    assert received == [0, 1]


def test_the_key_is_sent_and_never_shown(server, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    server.at(1, server.fails(401, f"{KEY} is not valid"))
    with connect(server) as backend:
        require_right(prompts(1), backend.complete(prompts(1), 1))
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
        with raises("endpoint", "VLLM_API_KEY") as caught:
            list(backend.complete(prompts(1), 1))
        assert KEY not in str(caught.value)
        assert KEY not in json.dumps(backend.describe())
        assert server.url not in json.dumps(backend.describe())


def test_what_goes_into_provenance(server):
    with connect(server) as backend:
        described = backend.describe()
    assert described["vllm"] == "0.32.0"
    assert described["root"] == "/models/mini_internvl"
    assert described["system_fingerprint"] == "vllm-0.32.0-f273bb1e"
    assert (described["prefix_caching"], described["kv_cache_dtype"]) == ("False", "auto")
    assert (described["vllm_lens"], described["dtype"]) == (True, "float32")


def test_logprobs_of_the_first_token_and_residual_streams(server):
    full = prompt("abc", logprobs=-1, residual_layers=(4, 2))
    with connect(server) as backend:
        ((_, completion),) = backend.complete([full], 1)
        ((_, likely),) = backend.complete([prompt("abc", logprobs=2)], 1)
    assert completion.prompt_tokens == (1, *b"abc", 2)
    ids, values = completion.logprobs
    assert ids.tolist() == [ord("a"), 300, 301, 302]
    assert values.tolist() == [0.0, -1.0, -2.0, -3.0]
    assert likely.logprobs[0].tolist() == [ord("a"), 300]
    assert likely.residual is None
    assert set(completion.residual) == {2, 4}
    assert completion.residual[4].shape == (5 + 4 - 1, WIDTH)
    assert completion.residual[4].unique().tolist() == [4.0]


def test_activations_of_a_server_without_the_plugin(server):
    server.vllm_lens = False
    with connect(server) as backend, raises("unsupported", "vllm-lens"):
        list(backend.complete([prompt("abc", residual_layers=(2,))], 1))


def test_activations_of_a_server_that_ran_out_of_memory(server):
    server.preemptions = 3  # before this run
    read = [prompt(f"prompt {k}", residual_layers=(2,)) for k in range(4)]
    with connect(server) as backend:
        require_right(read, backend.complete(read, 2))

        def preempts(handler):
            server.preemptions = 5
            server.fails(500)(handler)

        server.at(6, preempts)
        with raises("no-memory", server.url, "2 requests", "engine.rows_in_flight"):
            list(backend.complete(read, 2))
        # Responses are right: their tokens are computed again.
        server.at(
            11, lambda handler: (setattr(server, "preemptions", 9), server.fails(500)(handler))
        )
        require_right(prompts(4), backend.complete(prompts(4), 2))


def test_hooks_need_permission_and_return_no_code(server):
    pytest.importorskip("cloudpickle")
    hooked = prompt("abc", hooks=(Hook(print, (2,)),))
    with connect(server) as backend, raises("unsupported", "engine.hooks=true"):
        list(backend.complete([hooked], 1))
    assert not server.requests
    server.hook_results = {"0": {"covered 2": 8}}
    with connect(server, hooks=True) as backend:
        ((_, completion),) = backend.complete([hooked], 1)
        assert completion.hook_results == server.hook_results
        server.hook_results = {"0": {"x": {"__type__": "cloudpickle", "data": ""}}}
        with raises("unsupported", "cloudpickle"):
            list(backend.complete([hooked], 1))


class Lazy:
    """Requests that are built when they are sent."""

    def __init__(self, count):
        self.built, self.count = [], count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.built.append(index)
        return prompts(self.count)[index]


def test_requests_are_built_in_order_and_not_far_ahead_of_the_caller(server):
    lazy = Lazy(50)
    with connect(server) as backend:
        completions = []
        for taken, completed in enumerate(backend.complete(lazy, 4), 1):
            assert len(lazy.built) <= taken - 1 + 2 * 4
            completions.append(completed)
    require_right(prompts(50), completions)
    assert lazy.built == list(range(50))


def test_an_error_in_building_a_request_reaches_the_caller(server):
    class Broken(Lazy):
        def __getitem__(self, index):
            raise LookupError("no such example")

    with connect(server) as backend, pytest.raises(LookupError, match="no such example"):
        list(backend.complete(Broken(3), 1))


@contextmanager
def interrupted_after(seconds):
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_ctrl_c_cancels_what_is_in_flight(server):
    released = threading.Event()
    for number in (3, 4):
        server.at(number, server.hangs(released))
    received = []
    with (
        connect(server) as backend,
        interrupted_after(0.5),
        pytest.raises(KeyboardInterrupt),
    ):
        for index, _ in backend.complete(prompts(30), 2):
            received.append(index)
    assert sorted(received) == [0, 1, 2]
    assert len(server.requests) == 5
    released.set()


def test_a_caller_that_stops_early_starts_no_further_request(server):
    with connect(server) as backend:
        completions = backend.complete(prompts(200), 2)
        next(completions)
        completions.close()
        require_right(prompts(5), backend.complete(prompts(5), 2))
    assert len(server.requests) <= 1 + 2 * 2 + 5


def test_log_probabilities_that_json_cannot_have(server):
    server.at(0, server.fails(400, "Out of range float values are not JSON compliant"))
    server.at(2, server.fails(400, "Out of range float values are not JSON compliant"))
    with connect(server) as backend:
        ((_, completion),) = backend.complete([prompt("abc", logprobs=0)], 1)
        assert completion.finish == NOT_FINITE and not completion.tokens
        ((_, completion),) = backend.complete([prompt("abc", logprobs=0)], 1)
        assert completion.finish == "stop" and completion.logprobs is None
        with raises("endpoint", "JSON"):  # these have no log-probabilities
            list(backend.complete(prompts(1), 1))


@pytest.mark.parametrize(
    ("path", "reply", "message"),
    [
        ("/v1/models", (404, "<html>"), "no vLLM server"),
        ("/v1/models", (200, "<html>"), "lists no models"),
        ("/v1/models", (200, '{"data": [{"id": "x", "root": 5}]}'), "no reply of vLLM"),
    ],
)
def test_an_address_of_something_else_than_vllm(server, monkeypatch, path, reply, message):
    get = server.get
    monkeypatch.setattr(server, "get", lambda asked: reply if asked == path else get(asked))
    with raises("endpoint", server.url, message):
        connect(server, restart_wait=0.002)


def test_an_address_that_accepts_connections_and_never_answers_is_given_up(server, monkeypatch):
    monkeypatch.setattr(replica, "LIST_SECONDS", 0.05)
    get, given_up = server.get, threading.Event()

    def slow(path):
        given_up.wait(30)
        return get(path)

    monkeypatch.setattr(server, "get", slow)
    with raises("endpoint", server.url) as caught:
        connect(server, timeout=60)
    given_up.set()
    assert replicas.SAVED not in str(caught.value)


def test_a_request_after_the_end_leaves_no_coroutine_behind(server, recwarn):
    backend = connect(server)
    backend.close()
    with pytest.raises(RuntimeError):
        list(backend.complete(prompts(1), 1))
    gc.collect()
    assert not [w for w in recwarn if "never awaited" in str(w.message)]


def test_metrics_in_another_form_are_no_error(server, monkeypatch):
    get = server.get
    odd = 200, 'vllm:num_preemptions_total{engine="0"} many'
    monkeypatch.setattr(server, "get", lambda path: odd if path == "/metrics" else get(path))
    with connect(server) as backend:
        assert backend.describe()["kv_cache_dtype"] is None
        list(backend.complete([prompt("abc", residual_layers=(2,))], 1))
