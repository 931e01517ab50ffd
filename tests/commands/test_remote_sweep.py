"""A sweep with a remote model, against a server on this machine: troubles, kills, budgets, keys."""

import csv
import hashlib
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

from calib import extract, judge, sweep
from calib.config.sweep import ExtractConfig, SweepConfig
from calib.models import backoff as trouble
from calib.util.errors import CalibError

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-made-up-0123456789"
REFUSAL = "I'm sorry, but I can't help with that."
SMALL = ["model=vllm", "model.model=m", "data=mini", "data.limit=6", "utility=none"]


@pytest.fixture(autouse=True)
def quick(monkeypatch, undrawn):
    monkeypatch.setattr(trouble, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("VLLM_API_KEY", KEY)


def number(request):
    """A number that differs between requests and is the same for the same one."""
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
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows_of(out):
    return {one["row"]: one for one in lines(out / "rows.jsonl")}


def test_a_sweep_from_the_command_line_and_the_same_again(tmp_path):
    out = tmp_path / "run"
    with LocalEndpoint(by=half_refused) as server:
        given = arguments(server, out, "method=reminder")
        done = command("sweep", *given)
        assert done.code == 0, done.stderr
        rows, asked = rows_of(out), len(server.requests)
        assert asked == len(rows) == len({number(one) for one in server.requests})
        again = command("sweep", *given)
        assert again.code == 0, again.stderr
        assert len(server.requests) == asked
    assert f"{asked} rows were answered before" in again.stdout
    assert "Checkpoint  vllm:m" in done.stdout
    assert f"{asked} rows were answered by m; " in done.stdout
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    for text in (done.stdout, done.stderr, again.stdout, again.stderr):
        assert KEY not in text
    for path in out.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert {one["kl"] for one in rows.values()} == {None}
    with (out / "results.csv").open(newline="") as file:
        assert "KL" not in {one["metric"] for one in csv.DictReader(file)}
    reminded = [one for one in rows.values() if one["system"]]
    assert len(reminded) * 2 == len(rows)
    systems = [r for r in server.requests if r.body["messages"][0]["role"] == "system"]
    assert len(systems) == len(reminded)
    labels = {one["row"]: one["label"] for one in lines(out / "labels.jsonl")}
    # Nothing is asked beside a method that changes the prompt itself.
    (point,) = json.loads((out / "operating_points.json").read_text())
    assert (point["method"], point["reference"]) == ("reminder", False)
    assert {labels[row] for row, one in rows.items() if one["response"] == REFUSAL} == {"refusal"}


def test_kill_minus_nine_and_the_same_command_again(tmp_path):
    out = tmp_path / "run"
    counter = itertools.count()
    at_once = 3

    def act(request):
        time.sleep(0.03)
        return says(f"It is thing {next(counter)} of {number(request)}.")

    with LocalEndpoint(by=act) as server:
        given = arguments(server, out, "method=reminder", f"model.concurrency={at_once}")
        process = subprocess.Popen(
            [sys.executable, "-m", "calib.sweep", *given],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 120
        while len(server.requests) < 17 and time.monotonic() < until:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.2)
        killed_at = len(server.requests)
        assert killed_at >= 17
        kept = rows_of(out)
        assert killed_at - at_once <= len(kept) < killed_at + 1
        done = command("sweep", *given)
        assert done.code == 0, done.stderr
    rows = rows_of(out)
    assert {row: rows[row] for row in kept} == kept
    assert len(lines(out / "rows.jsonl")) == len(rows)
    finished = {one["response"].rpartition(" ")[2].strip(".") for one in kept.values()}
    asked_again = {str(number(one)) for one in server.requests[killed_at:]}
    assert not finished & asked_again
    assert len(asked_again) == len(server.requests) - killed_at == len(rows) - len(kept)


def test_every_trouble_of_the_floor_ends_in_the_right_label(tmp_path):
    """Each request fails once in one of the ways, then is answered; some answers are no answers."""
    released, seen, tries, lock = threading.Event(), {}, Counter(), threading.Lock()
    troubles = [
        fails(429, retry_after="0"), fails(500), fails(503), resets,
        writes('{"choices": [{"message": {"content": "It'), writes("<html>", "text/html"),
    ]  # fmt: skip
    answers = [
        ("It is a thing.", "stop", "answer"), (REFUSAL, "stop", "refusal"),
        ("", "stop", "irrelevant"), ("", "content_filter", "blocked"),
        ("It is", "content_filter", "blocked"), ("It is a", "length", "answer"),
    ]  # fmt: skip
    wanted = {}

    def act(request):
        with lock:
            first = seen.setdefault(number(request), len(seen))
            tries[first] += 1
        if tries[first] == 1:  # a hanging one costs its whole timeout
            return hangs(released) if first == 3 else troubles[first // 6 % len(troubles)]
        text, end, label = answers[first % len(answers)]
        named = f"m-{first}"
        wanted[named] = label
        return says(text, end, model=named)

    out = tmp_path / "run"
    with LocalEndpoint(by=act) as server:
        run(server, out, "method=reminder", "model.timeout=5", "model.concurrency=16")
        released.set()
    rows = rows_of(out)
    assert len(server.requests) == 2 * len(rows)
    labels = {one["row"]: one["label"] for one in lines(out / "labels.jsonl")}
    assert len(labels) == len(rows)
    assert {row: wanted[one["model"]] for row, one in rows.items()} == labels
    assert set(labels.values()) == {"answer", "refusal", "irrelevant", "blocked"}
    judge.main(composed("judge", f"run={out}", "judge=string"))  # another judge keeps the blocks
    again = lines(out / "judged" / "string" / "labels.jsonl")
    assert {one["row"]: one["label"] for one in again} == labels


def test_a_budget_stops_it_and_another_go_goes_on(tmp_path):
    out = tmp_path / "run"
    with LocalEndpoint(by=half_refused) as server:
        with pytest.raises(CalibError, match="model.max_requests=10 requests have been made"):
            run(server, out, "method=reminder", "model.max_requests=10")
        assert len(server.requests) == len(rows_of(out)) == 10
        run(server, out, "method=reminder", "model.max_requests=1000", "model.concurrency=2")
        assert len(server.requests) == len(rows_of(out))


def test_a_key_that_is_sent_back_is_in_no_file_and_no_message(tmp_path, capsys):
    out = tmp_path / "run"
    acts = says(f"My key is {KEY}.", model=f"m/{KEY}"), fails(401, KEY)
    with LocalEndpoint(*acts) as server, pytest.raises(CalibError, match="401") as told:
        run(server, out, "method=none", "model.concurrency=1")
    assert KEY not in str(told.value)
    assert [one["response"] for one in rows_of(out).values()] == ["My key is ***."]
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err
    for path in out.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_the_other_prompt_methods_in_one_run(tmp_path):
    def act(request):
        asked = request.user if isinstance(request.user, str) else request.user[1]["text"]
        if "Say only yes or no." in asked:
            return says("Yes." if number(request) % 2 else "No.")
        return half_refused(request)

    out = tmp_path / "run"
    methods = [f"+method@methods.{one}={one}" for one in ("few_shot", "cot", "ecso", "caution")]
    with LocalEndpoint(by=act) as server:
        run(server, out, "method=none", *methods, "methods.few_shot.strengths=[2]",
            "data.limit=16", "data.parts=[image_centric,text_centric]",
            "model.concurrency=16")  # fmt: skip
    assert len(rows_of(out)) == len(server.requests)
    points = json.loads((out / "operating_points.json").read_text())
    assert {one["method"] for one in points} == {"few_shot", "cot", "ecso", "caution"}
    turns = [[m["role"] for m in one.body["messages"]] for one in server.requests]
    assert ["user", "assistant", "user", "assistant", "user"] in turns  # two demonstrations
    assert ["user", "assistant", "user"] in turns  # the second step of cot
    shown = [one for one in server.requests if len(one.body["messages"]) == 5]
    said = {one.body["messages"][k]["content"] for one in shown for k in (1, 3)}
    assert REFUSAL in said and len(said) > 1
    assert any(isinstance(one.body["messages"][0]["content"], list) for one in shown)


def test_utility_questions_are_asked_and_have_no_kl(tmp_path):
    out = tmp_path / "run"
    with LocalEndpoint(by=half_refused) as server:
        run(server, out, "method=reminder", "utility=mini", "utility.limit=6")
    with (out / "results.csv").open(newline="") as file:
        metrics = {one["metric"] for one in csv.DictReader(file)}
    assert "utility" in metrics and "KL" not in metrics


def test_activation_methods_and_directions_are_refused_with_the_reason(tmp_path):
    with LocalEndpoint(says("no")) as server:
        with pytest.raises(CalibError, match="method=steer edits activations, and vllm:m"):
            run(server, tmp_path / "run", "method=steer")
        model = ["model=vllm", "model.model=m", f"model.base_url={server.url}"]
        config = composed("extract", *model, f"out={tmp_path / 'run'}")
        assert isinstance(config, ExtractConfig)
        with pytest.raises(CalibError, match="model=vllm.*shows no activations.*model=internvl"):
            extract.main(config)
    assert not server.requests
    assert not (tmp_path / "run").exists()
