"""inspect-ai evaluates the calibrated model through the server.

CALIB_INSPECT_PYTHON is the path of a Python interpreter with inspect-ai; by default it is this one,
if inspect-ai is installed.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from server_thread import data_url

from calib.data.mini.examples import load
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request

PYTHON = os.environ.get("CALIB_INSPECT_PYTHON") or (
    sys.executable if importlib.util.find_spec("inspect_ai") else None
)


@pytest.mark.skipif(PYTHON is None, reason="CALIB_INSPECT_PYTHON names no Python with inspect-ai")
def test_inspect_ai_measures_the_accuracy_of_the_engine(vlm, steered, server, tmp_path):
    questions = [e for e in load(["utility"], 40) if e.split == "test"]
    lines = [
        {"query": e.query, "image": data_url(e.picture()), "target": e.answer} for e in questions
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    script = Path(__file__).with_name("inspect_questions.py")
    accuracy = {}
    for name, strength in (("mini", 4.0), ("mini-uncalibrated", 0.0)):
        edits = steered.setting(3, strength).intervention.edits
        requests = [Request(example, edits) for example in questions]
        offline = [r.text for r in generate(vlm, requests, Decoding(max_new_tokens=12))]
        done = subprocess.run(
            [PYTHON, script, name, path, tmp_path / "logs"],
            env={**os.environ, "CALIB_BASE_URL": server.url, "CALIB_API_KEY": "none"},
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        measured = json.loads(done.stdout.splitlines()[-1])
        assert measured["status"] == "success"
        assert measured["responses"] == offline
        correct = [
            e.answer.lower() in text.lower() for e, text in zip(questions, offline, strict=True)
        ]
        assert measured["accuracy"] == pytest.approx(sum(correct) / len(correct))
        accuracy[name] = measured["accuracy"]
    assert accuracy["mini-uncalibrated"] > 0.9
    assert list((tmp_path / "logs").glob("*.eval"))
