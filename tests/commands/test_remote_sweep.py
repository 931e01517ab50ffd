"""A sweep with a remote model, on a local server: failures, interruption, budgets and keys."""

import csv
import hashlib
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from composing import composed
from in_process import command
from local_endpoint import LocalEndpoint, fails, hangs, resets, says, writes
from raising import raises

from calib import judge, sweep
from calib.config.sweep import ExtractConfig, SweepConfig
from calib.models import backoff

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-made-up-0123456789"
REFUSAL = "I'm sorry, but I can't help with that."
SMALL = ["model=vllm", "model.model=m", "data=mini", "data.limit=6", "utility=none"]


@pytest.fixture(autouse=True)
def quick(monkeypatch, undrawn):
    monkeypatch.setattr(backoff, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("VLLM_API_KEY", KEY)


def number(request):
    """A number of a request; equal requests have equal numbers."""
    body = json.dumps(request.body, sort_keys=True).encode()
    return int.from_bytes(hashlib.sha256(body).digest()[:4], "big")


def half_refused(request):
    return says(REFUSAL if number(request) % 2 else f"It is thing {number(request)}.")


def run(server, out, *overrides):
    """A sweep in this process."""
    config = composed("sweep", *SMALL, f"model.base_url={server.url}", f"out={out}", *overrides)
    assert isinstance(config, SweepConfig)
    sweep.main(config)


def arguments(server, out, *overrides):
    return [*SMALL, f"model.base_url={server.url}", f"out={out}", *overrides]


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows_of(out):
    return {row["row"]: row for row in lines(out / "rows.jsonl")}


def test_a_sweep_and_the_same_command_again(tmp_path):
    out = tmp_path / "run"
    with LocalEndpoint(by=half_refused) as server:
        given = arguments(server, out, "method=reminder")
        done = command("sweep", *given)
        assert done.code == 0, done.stderr
        rows, count = rows_of(out), len(server.requests)
        assert count == len(rows) == len({number(request) for request in server.requests})
        again = command("sweep", *given)
        assert again.code == 0, again.stderr
        assert len(server.requests) == count
    assert f"{count} rows are saved" in again.stdout
    assert "Model       vllm:m" in done.stdout
    notes = [line for line in done.stdout.splitlines() if line.startswith("note: ")]
    assert any(f"{count} rows" in note and " m, " in note for note in notes)
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    for text in (done.stdout, done.stderr, again.stdout, again.stderr):
        assert KEY not in text
    for path in out.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert {row["kl"] for row in rows.values()} == {None}
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        assert "KL" not in {result["metric"] for result in csv.DictReader(file)}
    reminded = [row for row in rows.values() if row["system"]]
    assert len(reminded) * 2 == len(rows)
    systems = [r for r in server.requests if r.body["messages"][0]["role"] == "system"]
    assert len(systems) == len(reminded)
    labels = {line["row"]: line["label"] for line in lines(out / "labels.jsonl")}
    # A prompt-only method is run without a reference.
    (point,) = json.loads((out / "operating_points.json").read_text(encoding="utf-8"))
    assert (point["method"], point["reference"]) == ("reminder", False)
    refused = {id for id, row in rows.items() if row["response"] == REFUSAL}
    assert {labels[id] for id in refused} == {"refusal"}


def test_a_killed_run_resumes_without_repeating_requests(tmp_path):
    out = tmp_path / "run"
    counter = itertools.count()
    concurrency = 3
    hanging, killed = threading.Semaphore(0), threading.Event()

    def act(request):
        if len(server.requests) >= 17:
            hanging.release()
            killed.wait(300)
        return says(f"It is thing {next(counter)} of {number(request)}.")

    with LocalEndpoint(by=act) as server:
        given = arguments(server, out, "method=reminder", f"model.concurrency={concurrency}")
        process = subprocess.Popen(
            [sys.executable, "-m", "calib.sweep", *given],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert all(hanging.acquire(timeout=300) for _ in range(concurrency))
        killed_at = len(server.requests)  # no more are sent until one is answered
        saved, until = out / "rows.jsonl", time.monotonic() + 60
        while saved.read_bytes().count(b"\n") < killed_at - concurrency:
            assert time.monotonic() < until, "an answer was not saved"
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed.set()
        finished = rows_of(out)
        assert len(finished) == killed_at - concurrency
        done = command("sweep", *given)
        assert done.code == 0, done.stderr
    rows = rows_of(out)
    assert {id: rows[id] for id in finished} == finished
    assert len(lines(out / "rows.jsonl")) == len(rows)
    answered = {row["response"].rpartition(" ")[2].strip(".") for row in finished.values()}
    requested = {str(number(request)) for request in server.requests[killed_at:]}
    assert not answered & requested
    assert len(requested) == len(server.requests) - killed_at == len(rows) - len(finished)


def test_every_kind_of_failure_ends_in_the_right_label(tmp_path):
    """Each request fails once and is then answered; some replies are empty, cut or blocked."""
    released, seen, tries, lock = threading.Event(), {}, Counter(), threading.Lock()
    failures = [
        fails(429, retry_after="0"), fails(500), fails(503), resets,
        writes('{"choices": [{"message": {"content": "It'), writes("<html>", "text/html"),
    ]  # fmt: skip
    answers = [
        ("It is a thing.", "stop", "answer"), (REFUSAL, "stop", "refusal"),
        ("", "stop", "irrelevant"), ("", "content_filter", "blocked"),
        ("It is", "content_filter", "blocked"), ("It is a", "length", "answer"),
    ]  # fmt: skip
    expected = {}

    def act(request):
        with lock:
            first = seen.setdefault(number(request), len(seen))
            tries[first] += 1
        if tries[first] == 1:  # only one: it takes the whole timeout
            return hangs(released) if first == 3 else failures[first // 6 % len(failures)]
        text, end, label = answers[first % len(answers)]
        name = f"m-{first}"
        expected[name] = label
        return says(text, end, model=name)

    out = tmp_path / "run"
    with LocalEndpoint(by=act) as server:
        run(server, out, "method=reminder", "model.timeout=5", "model.concurrency=16")
        released.set()
    rows = rows_of(out)
    assert min(tries.values()) == 2  # more where a reply took longer than the timeout
    labels = {line["row"]: line["label"] for line in lines(out / "labels.jsonl")}
    assert len(labels) == len(rows)
    assert {id: expected[row["model"]] for id, row in rows.items()} == labels
    assert set(labels.values()) == {"answer", "refusal", "irrelevant", "blocked"}
    judge.main(composed("judge", f"run={out}", "judge=string"))  # blocked stays blocked
    again = lines(out / "judged" / "string" / "labels.jsonl")
    assert {line["row"]: line["label"] for line in again} == labels


def test_a_run_stopped_by_its_budget_is_resumed(tmp_path):
    out = tmp_path / "run"
    with LocalEndpoint(by=half_refused) as server:
        with raises("endpoint", "model.max_requests=10"):
            run(server, out, "method=reminder", "model.max_requests=10")
        assert len(server.requests) == len(rows_of(out)) == 10
        run(server, out, "method=reminder", "model.max_requests=1000", "model.concurrency=2")
        assert len(server.requests) == len(rows_of(out))


def test_a_key_in_a_reply_is_in_no_file_and_no_message(tmp_path, capsys):
    out = tmp_path / "run"
    acts = says(f"My key is {KEY}.", model=f"m/{KEY}"), fails(401, KEY)
    with LocalEndpoint(*acts) as server, raises("endpoint", "401") as caught:
        run(server, out, "method=none", "model.concurrency=1")
    assert KEY not in str(caught.value)
    assert [one["response"] for one in rows_of(out).values()] == ["My key is ***."]
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err
    for path in out.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_the_other_prompt_methods_in_one_run(tmp_path):
    def act(request):
        query = request.user if isinstance(request.user, str) else request.user[1]["text"]
        if "Say only yes or no." in query:
            return says("Yes." if number(request) % 2 else "No.")
        return half_refused(request)

    out = tmp_path / "run"
    names = ("few_shot", "cot", "ecso", "caution")
    methods = [f"+method@methods.{name}={name}" for name in names]
    with LocalEndpoint(by=act) as server:
        run(server, out, "method=none", *methods, "methods.few_shot.strengths=[2]",
            "data.limit=16", "data.parts=[image_centric,text_centric]",
            "model.concurrency=16")  # fmt: skip
    assert len(rows_of(out)) == len(server.requests)
    points = json.loads((out / "operating_points.json").read_text(encoding="utf-8"))
    assert {point["method"] for point in points} == set(names)
    turns = [[m["role"] for m in request.body["messages"]] for request in server.requests]
    assert ["user", "assistant", "user", "assistant", "user"] in turns  # two demonstrations
    assert ["user", "assistant", "user"] in turns  # the second step of cot
    few_shot = [r.body["messages"] for r in server.requests if len(r.body["messages"]) == 5]
    demonstrated = {messages[k]["content"] for messages in few_shot for k in (1, 3)}
    assert REFUSAL in demonstrated and len(demonstrated) > 1
    assert any(isinstance(messages[0]["content"], list) for messages in few_shot)


def test_utility_questions_are_answered_and_have_no_kl(tmp_path):
    out = tmp_path / "run"
    with LocalEndpoint(by=half_refused) as server:
        run(server, out, "method=reminder", "utility=mini", "utility.limit=6")
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        metrics = {result["metric"] for result in csv.DictReader(file)}
    assert "utility" in metrics and "KL" not in metrics


def test_activation_methods_and_directions_are_refused(tmp_path):
    with LocalEndpoint(says("no")) as server:
        with raises("unsupported", "method=steer", "vllm:m"):
            run(server, tmp_path / "run", "method=steer")
        model = ["model=vllm", "model.model=m", f"model.base_url={server.url}"]
        config = composed("extract", *model, f"out={tmp_path / 'run'}")
        assert isinstance(config, ExtractConfig)
        with raises("unsupported", "model=vllm", "model=internvl"):
            importlib.import_module("calib.extract").main(config)
    assert not server.requests
    assert not (tmp_path / "run").exists()
