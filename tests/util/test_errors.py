"""Errors: stable codes, which survive a worker process, and hints at similar names."""

import ast
import pickle
from collections import Counter
from pathlib import Path

import pytest

import calib
from calib.util.errors import CODES, CalibError, did_you_mean

PACKAGE = Path(calib.__file__).parent


def test_a_worker_process_passes_an_error_on() -> None:
    error = pickle.loads(pickle.dumps(CalibError("not-found", "there is no file x")))
    assert (error.code, error.message, str(error)) == (
        "not-found",
        "there is no file x",
        "there is no file x",
    )


def test_an_unknown_code_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        CalibError("nonsense", "message")


def test_every_code_is_used() -> None:
    used: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        if path.name != "errors.py":
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            texts = (node.value for node in nodes if isinstance(node, ast.Constant))
            used.update(text for text in texts if isinstance(text, str) and text in CODES)
    assert not CODES.keys() - used.keys()


@pytest.mark.parametrize(
    ("given", "hint"), [("stear", " Did you mean 'steer'?"), ("xyz", ""), ("", "")]
)
def test_similar_names_are_suggested(given, hint) -> None:
    assert did_you_mean(given, ["steer", "none"]) == hint
