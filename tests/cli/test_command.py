"""Starting a command: configuration in, one clear message and an exit code out."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calib.cli import command
from calib.config.commands import PlotConfig
from calib.config.sweep import ExtractConfig

ROOT = Path(__file__).resolve().parents[2]

ENTRY_POINT = """
import errno, os, sys
from calib import command, progress
from calib.config.schemas import SweepConfig
from calib.util.errors import CalibError

class OutOfMemoryError(RuntimeError):
    pass  # as torch has it

def main(config: SweepConfig) -> None:
    if config.seed == 1:
        raise CalibError("the picture cannot be read")
    if config.seed == 2:
        raise RuntimeError("a bug")
    if config.seed == 3:
        raise KeyboardInterrupt
    if config.seed == 4:
        raise OSError(errno.ENOSPC, "No space left on device")
    if config.seed == 5:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("a library's own words") from error
    if config.seed == 6 and config.method.name == "steer":
        raise CalibError("not with this one")
    if config.seed == 7:
        raise ValueError("a bug that looks like bad input")
    if config.seed == 8:
        try:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has")
        except RuntimeError as error:
            raise ValueError("a library's own words") from error
    if config.seed == 9:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: "
                           "can't allocate memory: you tried to allocate 8 bytes.\\nMore")
    if config.seed == 10:
        raise MemoryError
    if config.seed == 11:
        raise CalibError("the file \\x1b[31m\\u202ered\\nis bad")
    if config.seed == 12:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    if config.seed == 13:
        progress.tell("half way")
    print("ran", config.model.name, config.method.name, config.out)
    if config.seed == 14:
        os._exit(9)  # as kill -9: what is in a buffer is lost

if __name__ == "__main__":
    try:
        command.run(main, "sweep", SweepConfig)
    finally:
        heavy = {"torch", "transformers", "sklearn", "matplotlib", "numpy", "PIL"}
        print("heavy imports:", sorted(heavy & set(sys.modules)))
"""


@pytest.fixture
def sweep(tmp_path):
    script = tmp_path / "sweep.py"
    script.write_text(ENTRY_POINT)
    folder = tmp_path / "here"
    folder.mkdir()

    def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
        paths = os.pathsep.join(filter(None, [str(ROOT), inherited.get("PYTHONPATH")]))
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=folder,
            env={**inherited, "PYTHONPATH": paths, **environment},
            capture_output=True,
            text=True,
            timeout=180,
        )

    start.folder = folder
    return start


def test_a_run_that_goes_well_leaves_nothing_of_hydras_behind(sweep):
    result = sweep("method=steer", "model=internvl")
    assert result.returncode == 0, result.stderr
    assert "ran internvl steer None" in result.stdout
    assert result.stderr == ""
    assert list(sweep.folder.iterdir()) == []


def test_help_is_fast_and_shows_examples_groups_and_settings(sweep):
    start = time.perf_counter()
    result = sweep("--help")
    assert time.perf_counter() - start < 10  # on a busy machine; what is slow is imported below
    assert result.returncode == 0
    assert result.stdout.count("  python -m calib.sweep") == 4
    assert "\nmethod=steer  " in result.stdout and "\n    all_methods, " in result.stdout
    assert "\ngeneration.max_new_tokens=32        A response is cut after" in result.stdout
    assert "heavy imports: []" in result.stdout
    assert "hydra/schema" not in result.stdout


def test_hydras_own_help_lists_its_groups(sweep):
    result = sweep("--hydra-help")
    assert result.returncode == 0 and "hydra/job_logging:" in result.stdout


def test_help_of_a_choice_with_values_of_ones_own(sweep):
    result = sweep("method=reminder", "method.text='pay $5'", "--help")
    assert result.returncode == 0, result.stderr
    assert "\nmethod.text=pay $5 " in result.stdout
    assert "method.gate=" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["seed=1"], 2, "calib.sweep: the picture cannot be read\n"),
        (["seed=3"], 130, "stopped; finished rows are kept, run the same command to continue"),
        (["seed=4"], 2, "The disk is full"),
        (["seed=5"], 2, "The disk is full"),
        (
            ["seed=8"],
            2,
            "(CUDA out of memory). Finished rows are safe: lower generation.batch_rows",
        ),
        (["seed=9"], 2, "lower generation.batch_rows and run the command again"),
        (["seed=10"], 2, "(MemoryError). Finished rows are safe"),
        (["method=stear"], 2, "Did you mean 'steer'"),
        (["method=stear", "--help"], 2, "Did you mean 'steer'"),
        (["method.strenghts=[1]"], 2, "Did you mean 'method.strengths'"),
        (["+method.strenght=[1]"], 2, "Did you mean 'method.strengths'"),
        (["+foo=1"], 2, "no setting 'foo'"),
        (["method=none", "+method.rank=1"], 2, "method=none has no setting 'method.rank'"),
        (["method=combine", "+method.prompt.texx=1"], 2, "Did you mean 'method.prompt.text'"),
        (
            ["experiment=vscbench_four", "+methods.iar_head.headz=1"],
            2,
            "Did you mean 'methods.iar_head.heads'",
        ),
        (["experiment=vscbench"], 2, "Did you mean 'vscbench_four'"),
        (["experiment=vscbench_four", "method=steer"], 2, "method=steer would be left out beside"),
        (["experiment=null"], 2, "must be a string"),
        (["method.positions=respons"], 2, "Did you mean 'response'"),
        (["method=steer,none"], 2, "Add -m"),
        (["method=null"], 2, "must be a string"),
        (["--cfg", "job", "-m"], 2, "Only one of"),
        (["--config-dir", "nowhere"], 2, "nowhere"),
        (["-m", "method=steer,stear"], 2, "no method 'stear'"),
    ],
)
def test_what_the_user_can_put_right_is_one_message(sweep, arguments, code, words):
    result = sweep(*arguments)
    assert result.returncode == code, result.stderr
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_memory_that_is_not_enough_names_the_setting_of_the_command():
    assert "lower batch_rows" in command._how_to_save_memory(MemoryError(), ExtractConfig)
    assert "batch_rows" not in command._how_to_save_memory(MemoryError(), PlotConfig)


def test_escape_sequences_in_a_message_are_shown_not_obeyed(sweep):
    result = sweep("seed=11")
    assert result.returncode == 2
    assert result.stderr == "calib.sweep: the file \\x1b[31m\\u202ered\nis bad\n"


@pytest.mark.parametrize("arguments", [["seed=12"], ["-m", "method=steer,none", "seed=12"]])
def test_a_reader_who_has_seen_enough_ends_the_run_quietly(sweep, arguments):
    result = sweep(*arguments)
    assert "Error" not in result.stderr and "Broken" not in result.stderr
    assert result.returncode == 0


def test_a_broken_file_of_the_users_own_is_named(sweep):
    mine = sweep.folder / "mine" / "method"
    mine.mkdir(parents=True)
    (mine / "broken.yaml").write_text("strengths: [1\nlayers: 3")
    result = sweep("--config-dir", "mine", "method=broken")
    assert result.returncode == 2
    assert "broken.yaml" in result.stderr
    assert "line 2" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("seed", "words"), [(2, "a bug"), (7, "a bug that looks like bad input")])
def test_a_bug_shows_its_traceback(sweep, seed, words):
    result = sweep(f"seed={seed}")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert words in result.stderr
    assert "HYDRA_FULL_ERROR" not in result.stderr


@pytest.mark.parametrize("argument", ["seed=1", "method=stear", "method=null"])
def test_hydra_full_error_shows_every_traceback(sweep, argument):
    result = sweep(argument, HYDRA_FULL_ERROR="1")
    assert result.returncode == 2
    assert "Traceback" in result.stderr


def test_a_multirun_runs_every_combination(sweep):
    result = sweep("-m", "model=internvl", "method=steer,none")
    assert result.returncode == 0, result.stderr
    assert "ran internvl steer" in result.stdout
    assert "ran internvl none" in result.stdout
    assert [str(p.relative_to(sweep.folder)) for p in sweep.folder.rglob("*") if p.is_file()] == [
        "runs/.multirun/multirun.yaml"
    ]


def test_jobs_of_a_multirun_are_told_apart(sweep):
    result = sweep("-m", "method=steer,none", "seed=13")
    assert "[method=steer seed=13] half way\n" in result.stderr
    assert "[method=none seed=13] half way\n" in result.stderr
    assert sweep("seed=13").stderr == "half way\n"


def test_what_was_said_before_a_kill_is_in_the_log(sweep):
    assert sweep("seed=14").stdout == "ran internvl steer None\n"


def test_a_failing_job_of_a_multirun_is_told_and_the_others_run(sweep):
    result = sweep("-m", "model=internvl", "method=steer,none", "seed=6")
    assert result.returncode == 2
    assert "calib.sweep [model=internvl method=steer seed=6]: not with this one" in result.stderr
    assert "ran internvl none" in result.stdout
    assert "Traceback" not in result.stderr


def test_a_path_with_equals_sign_and_spaces(sweep):
    result = sweep('out="my runs/a=b"')
    assert "ran internvl steer my runs/a=b" in result.stdout


def test_options_of_the_users_own(sweep):
    mine = sweep.folder / "mine" / "method"
    mine.mkdir(parents=True)
    (mine / "strong.yaml").write_text(
        "defaults:\n  - /hydra/schema/method@_here_: steer\n  - _self_\nstrengths: [9]\n"
    )
    result = sweep("--config-dir", "mine", "method=strong", "--cfg", "job")
    assert "- 9" in result.stdout
    assert "positions: last_prompt" in result.stdout
