"""The start of a command: settings, messages, exit codes, and nothing left over by Hydra."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from in_process import started

from calib.cli import problems
from calib.config.commands import PlotConfig
from calib.config.sweep import ExtractConfig

ROOT = Path(__file__).resolve().parents[2]

ENTRY_POINT = """
import errno, os, signal, sys
from calib.cli import command
from calib.config.sweep import SweepConfig
from calib.util import progress
from calib.util.errors import CalibError

class OutOfMemoryError(RuntimeError):
    pass  # a class of torch

def main(config: SweepConfig) -> None:
    if config.seed == 1:
        raise CalibError("unreadable", "the picture cannot be read")
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
            raise RuntimeError("a library's own message") from error
    if config.seed == 6 and config.method.name == "steer":
        raise CalibError("unsupported", "not with this method")
    if config.seed == 7:
        raise ValueError("a bug that looks like bad input")
    if config.seed == 8:
        try:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has")
        except RuntimeError as error:
            raise ValueError("a library's own message") from error
    if config.seed == 9:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: "
                           "can't allocate memory: you tried to allocate 8 bytes.\\nMore")
    if config.seed == 10:
        raise MemoryError
    if config.seed == 11:
        raise CalibError("unreadable", "the file \\x1b[31m\\u202ered\\nis bad")
    if config.seed == 12:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    if config.seed == 15:
        os.kill(os.getpid(), signal.SIGTERM)
    if config.seed == 13:
        progress.log_line("half way")
    print("ran", config.model.name, config.method.name, config.out)
    if config.seed == 14:
        os._exit(9)  # like kill -9: the content of buffers is lost

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
    script.write_text(ENTRY_POINT, encoding="utf-8")
    folder = tmp_path / "here"
    folder.mkdir()

    def start(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
        paths = os.pathsep.join(filter(None, [str(ROOT), inherited.get("PYTHONPATH")]))
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=folder,
            env={**inherited, "PYTHONPATH": paths, **environment},
            capture_output=True,
            encoding="utf-8",
            timeout=180,
        )

    start.folder = folder
    return start


def test_a_successful_run_leaves_no_files_of_hydra(sweep):
    result = sweep("method=steer", "model=internvl")
    assert result.returncode == 0, result.stderr
    assert "ran internvl steer None" in result.stdout
    assert result.stderr == ""
    assert list(sweep.folder.iterdir()) == []


def test_characters_that_the_output_cannot_encode_are_written_as_escapes(sweep):
    # As bytes: this process may not be able to encode it, either.
    out = "out=caf\u00e9/\u65e5".encode()
    result = sweep(out, PYTHONUTF8="1", PYTHONIOENCODING="ascii:strict")
    assert result.returncode == 0, result.stderr
    assert r"ran internvl steer caf\xe9/\u65e5" in result.stdout


def test_help_imports_nothing_heavy_and_shows_examples_groups_and_settings(sweep):
    result = sweep("--help")
    assert result.returncode == 0
    assert result.stdout.count("  python -m calib.sweep") == 4
    assert "\nmethod=steer  " in result.stdout and "\n    all_methods, " in result.stdout
    assert "\ngeneration.max_new_tokens=null      " in result.stdout
    assert "heavy imports: []" in result.stdout
    assert "hydra/schema" not in result.stdout


def test_hydras_own_help_lists_its_groups(sweep):
    result = sweep("--hydra-help")
    assert result.returncode == 0 and "hydra/job_logging:" in result.stdout


def test_help_of_an_option_with_overrides(sweep):
    result = sweep("method=reminder", "method.text='pay $5'", "--help")
    assert result.returncode == 0, result.stderr
    assert "\nmethod.text=pay $5 " in result.stdout
    assert "method.gate=" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "values"),
    [
        (["seed=1"], "unreadable", ["calib.sweep: "]),
        (["seed=4"], "no-space", ["No space left on device"]),
        (["seed=5"], "no-space", ["a library's own message"]),
        (["--foo"], "unknown-setting", ["--foo"]),
        (["foo"], "invalid-setting", ["'foo'"]),
        (["seed=8"], "no-memory", ["(CUDA out of memory)", "generation.batch_rows"]),
        (["seed=9"], "no-memory", ["generation.batch_rows"]),
        (["seed=10"], "no-memory", ["(MemoryError)", "generation.batch_rows"]),
        (["method=stear"], "unknown-name", ["'stear'", "'steer'"]),
        (["-m", "hydra/launcher=submitit_typo"], "needs-package", ["calib[slurm]"]),
        (["method=stear", "--help"], "unknown-name", ["'stear'", "'steer'"]),
        (["-m", "method=steer,stear"], "unknown-name", ["'stear'"]),
        (["experiment=vscbench"], "unknown-name", ["'vscbench'", "'vscbench_four'"]),
        (["method.strenghts=[1]"], "unknown-setting", ["'method.strengths'"]),
        (["+method.strenght=[1]"], "unknown-setting", ["'method.strengths'"]),
        (["+foo=1"], "unknown-setting", ["'foo'"]),
        (["method=none", "+method.rank=1"], "unknown-setting", ["'method.rank'", "vlm_guard"]),
        (["method=combine", "+method.prompt.texx=1"], "unknown-setting", ["method.prompt.text"]),
        (
            ["experiment=vscbench_four", "+methods.iar_head.headz=1"],
            "unknown-setting",
            ["methods.iar_head.heads"],
        ),
        (["experiment=vscbench_four", "method=steer"], "conflicting-settings", ["method=steer"]),
        (["experiment=null"], "invalid-setting", []),
        (["method=null"], "invalid-setting", []),
        (["method.positions=respons"], "invalid-setting", ["'response'"]),
        (["method=steer,none"], "invalid-setting", ["method=steer,none", "-m"]),
        (["--cfg", "job", "-m"], "invalid-setting", []),
        (["--config-dir", "nowhere"], "invalid-setting", ["nowhere"]),
    ],
)
def test_a_problem_that_the_user_can_fix_is_one_coded_message(
    tmp_path, monkeypatch, arguments, code, values
):
    monkeypatch.chdir(tmp_path)
    script: dict[str, Any] = {"__name__": "script"}
    exec(ENTRY_POINT, script)
    result = started(script["main"], "sweep", *arguments)
    assert result.code == 2, result.stderr
    assert f": [{code}] " in result.stderr, result.stderr
    for value in values:
        assert value in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_ctrl_c_has_an_exit_code_of_its_own(sweep):
    result = sweep("seed=3")
    assert result.returncode == 130
    assert result.stderr.startswith("calib.sweep: ") and result.stderr.count("\n") == 1


def test_sigterm_has_an_exit_code_of_its_own(sweep):
    result = sweep("seed=15")
    assert result.returncode == 143
    assert "SIGTERM" in result.stderr and "Traceback" not in result.stderr


def test_a_lack_of_memory_names_the_setting_of_the_command():
    assert " batch_rows " in problems._how_to_save_memory(MemoryError(), ExtractConfig)
    assert "batch_rows" not in problems._how_to_save_memory(MemoryError(), PlotConfig)


def test_former_names_of_settings_work_with_a_note(sweep):
    result = sweep("method.closed=opposite", "method.together=true", "--cfg", "job")
    assert result.returncode == 0, result.stderr
    assert "otherwise: opposite\n" in result.stdout
    assert "all_layers_at_once: true\n" in result.stdout
    notes = result.stderr.splitlines()
    assert len(notes) == 2 and all(note.startswith("note: ") for note in notes)
    assert "method.closed " in notes[0] and "method.otherwise" in notes[0]
    assert "method.together " in notes[1] and "method.all_layers_at_once" in notes[1]


def test_escape_sequences_in_a_message_are_escaped(sweep):
    result = sweep("seed=11")
    assert result.returncode == 2
    assert result.stderr == "calib.sweep: [unreadable] the file \\x1b[31m\\u202ered\nis bad\n"


@pytest.mark.parametrize("arguments", [["seed=12"], ["-m", "method=steer,none", "seed=12"]])
def test_a_closed_pipe_ends_the_run_silently(sweep, arguments):
    result = sweep(*arguments)
    assert "Error" not in result.stderr and "Broken" not in result.stderr
    assert result.returncode == 0


def test_a_damaged_option_file_is_named(sweep):
    mine = sweep.folder / "mine" / "method"
    mine.mkdir(parents=True)
    (mine / "broken.yaml").write_text("strengths: [1\nlayers: 3", encoding="utf-8")
    result = sweep("--config-dir", "mine", "method=broken")
    assert result.returncode == 2
    assert "[unreadable]" in result.stderr
    assert "broken.yaml" in result.stderr
    assert "line 2" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("seed", "text"), [(2, "a bug"), (7, "a bug that looks like bad input")])
def test_a_bug_shows_its_traceback(sweep, seed, text):
    result = sweep(f"seed={seed}")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert text in result.stderr
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


def test_messages_of_a_multirun_name_their_job(sweep):
    result = sweep("-m", "method=steer,none", "seed=13")
    assert "[method=steer seed=13] half way\n" in result.stderr
    assert "[method=none seed=13] half way\n" in result.stderr
    assert sweep("seed=13").stderr == "half way\n"


def test_the_output_before_a_kill_is_in_the_log(sweep):
    assert sweep("seed=14").stdout == "ran internvl steer None\n"


def test_a_failing_job_of_a_multirun_is_reported_and_the_others_run(sweep):
    result = sweep("-m", "model=internvl", "method=steer,none", "seed=6")
    assert result.returncode == 2
    assert "calib.sweep [model=internvl method=steer seed=6]: [unsupported] " in result.stderr
    assert "ran internvl none" in result.stdout
    assert "Traceback" not in result.stderr


def test_a_path_with_equals_sign_and_spaces(sweep):
    result = sweep('out="my runs/a=b"')
    assert "ran internvl steer my runs/a=b" in result.stdout


def test_options_in_a_folder_of_the_user(sweep):
    mine = sweep.folder / "mine" / "method"
    mine.mkdir(parents=True)
    (mine / "strong.yaml").write_text(
        "defaults:\n  - /hydra/schema/method@_here_: steer\n  - _self_\nstrengths: [9]\n",
        encoding="utf-8",
    )
    result = sweep("--config-dir", "mine", "method=strong", "--cfg", "job")
    assert "- 9" in result.stdout
    assert "positions: last_prompt" in result.stdout
