"""The commands of the experiments: options are read, and what is wrong is a sentence."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from raising import raises

from experiments import command

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "experiments").rglob("*.py")
    if '\nif __name__ == "__main__"' in path.read_text(encoding="utf-8")
)
READERS = {
    "out": command.path,
    "limit": command.whole(1),
    "seed": command.whole(0),
    "guard": command.flag,
    "stage": command.one_of("first", "second"),
    "text": command.text,
}


def started(module: str, *words: str) -> int:
    """The exit status of a command, run in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.delenv("HYDRA_FULL_ERROR", raising=False)
        patch.setattr(sys, "argv", [module, *words])
        sys.modules.pop(module, None)  # runpy warns where it is imported already
        runpy.run_module(module, run_name="__main__")
    return end.value.code or 0


def test_options_are_read() -> None:
    words = ["out=a=b", "limit=3", "seed=0", "guard=true", "stage=second", "text= x"]
    expected = {
        "out": Path("a=b"), "limit": 3, "seed": 0, "guard": True, "stage": "second", "text": " x",
    }  # fmt: skip
    assert command.options(words, READERS) == expected
    assert command.options(["guard=false"], READERS) == {"guard": False}


@pytest.mark.parametrize(
    ("code", "words", "named"),
    [
        ("unknown-setting", ["gaurd=true"], "guard"),
        ("unknown-setting", ["--out", "x"], "--out"),
        ("conflicting-settings", ["limit=1", "limit=2"], "limit"),
        *(
            ("invalid-setting", [word], word.partition("=")[0])
            for word in (
                "out", "out=", "out= ", "text=", "limit=abc", "limit=0", "limit=1.5", "limit=-1",
                "limit=\u0663", f"limit={'9' * 5000}", "seed=-1", "guard=yes", "stage=third",
            )
        ),
    ],
)  # fmt: skip
def test_options_that_are_wrong(code: str, words: list[str], named: str) -> None:
    with raises(code, named):
        command.options(words, READERS)


@pytest.mark.parametrize("module", COMMANDS)
def test_a_command_ends_with_a_sentence(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["nonsense="], ["nonsense=1", "other"]):
        assert started(module, *words) == 2
        assert re.match(r"\[[a-z-]+\] ", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("module", "words", "code"),
    [
        ("smolvlm_emoji.evaluate", [], "missing-setting"),
        ("smolvlm_emoji.evaluate", ["checkpoint=x", "limit=abc"], "invalid-setting"),
        ("smolvlm_emoji.evaluate", ["checkpoint=./no_folder"], "unreadable"),
        ("smolvlm_emoji.train", ["until=never"], "invalid-setting"),
        ("smolvlm_emoji.train", ["threads=0"], "invalid-setting"),
        ("smolvlm_emoji.tune", ["run=no_folder"], "not-found"),
        ("smolvlm_emoji.build", ["parts=no_folder"], "not-found"),
        ("mini_internvl.train", ["device=abacus"], "invalid-setting"),
        ("mini_internvl.evaluate", ["split=all"], "invalid-setting"),
        ("mini_internvl.card", ["figures=no_file"], "not-found"),
        ("vscbench_text.study", ["limit=many"], "invalid-setting"),
        ("vscbench_text.agreement", ["no_folder"], "unfinished-run"),
        ("all_methods.table", ["no_file"], "not-found"),
        ("all_methods.table", [], "missing-setting"),
        ("steering_mini.table", ["a", "b"], "invalid-setting"),
        ("answer_reading.measure", ["no_folder"], "not-found"),
        ("string_judge.measure", ["no_folder"], "not-found"),
    ],
)
def test_values_that_are_wrong(
    module: str, words: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert started(f"experiments.{module}", *words) == 2
    assert capsys.readouterr().err.startswith(f"[{code}] ")


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert started("experiments.smolvlm_emoji.build", "--help") == 0
    assert "guard=true" in capsys.readouterr().out


def test_how_a_command_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    failed = subprocess.CalledProcessError(3, "calib.plot")
    for error, status in ((KeyboardInterrupt(), 130), (failed, 3)):
        with pytest.raises(SystemExit) as end, command.reported():
            raise error
        assert end.value.code == status
    with pytest.raises(ZeroDivisionError), command.reported():  # a fault of ours keeps its trace
        _ = 1 / 0
