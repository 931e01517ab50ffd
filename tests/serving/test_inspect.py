"""inspect-ai evaluates the calibrated model through the server.

It has an environment of its own, whose interpreter CALIB_INSPECT_PYTHON names; without that it is
looked for in this one.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from calib.data.mini.examples import load
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request

PYTHON = os.environ.get("CALIB_INSPECT_PYTHON") or (
    sys.executable if importlib.util.find_spec("inspect_ai") else None
)


@pytest.mark.skipif(PYTHON is None, reason="CALIB_INSPECT_PYTHON names no python with inspect-ai")
def test_inspect_ai_measures_what_the_engine_says(vlm, steered, server, tools, tmp_path):
    questions = [e for e in load(["utility"], 40) if e.split == "test"]
    lines = [
        {"query": e.query, "image": tools.png(e.picture()), "target": e.answer} for e in questions
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    script = Path(__file__).with_name("inspect_questions.py")
    found = {}
    for name, strength in (("mini", 4.0), ("mini-uncalibrated", 0.0)):
        edits = steered.setting(3, strength).intervention.edits
        asked = [Request(example, edits) for example in questions]
        offline = [r.text for r in generate(vlm, asked, Decoding(max_new_tokens=12))]
        done = subprocess.run(
            [PYTHON, script, name, path, tmp_path / "logs"],
            env={**os.environ, "CALIB_BASE_URL": server.url, "CALIB_API_KEY": "none"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        measured = json.loads(done.stdout.splitlines()[-1])
        assert measured["status"] == "success"
        assert measured["answers"] == offline
        right = [
            e.answer.lower() in text.lower() for e, text in zip(questions, offline, strict=True)
        ]
        assert measured["accuracy"] == pytest.approx(sum(right) / len(right))
        found[name] = measured["accuracy"]
    assert found["mini-uncalibrated"] > 0.9
    assert list((tmp_path / "logs").glob("*.eval"))
