"""Small sweeps at the command line: results, repetition, interruption and invalid input."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from in_process import command, undrawn

ROOT = Path(__file__).resolve().parents[2]
DIRECTION = "directions/safety-mean_difference-last_prompt-residual.safetensors"
SMALL = [
    "method@reference=none",
    "data.limit=8",
    "utility.limit=6",
    "method.layers=[2,4]",
    "method.strengths=[-2,0,2]",
    "generation.max_new_tokens=12",
    "generation.batch_rows=32",
]
FIGURES = {f"trade_off.{form}" for form in ("png", "pdf", "svg")}
FILES = {
    "rows.jsonl", "labels.jsonl", "examples.jsonl", "results.csv", "operating_points.json",
    "config.yaml", "run.json", "directions", "report.html", *FIGURES,
}  # fmt: skip
"""The files of a run of one method."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished small sweep and its output."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = command("sweep", "method=steer", "model=internvl", *SMALL, f"out={out}")
    assert done.code == 0, done.stderr
    return out, done


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_writes_all_its_files(finished):
    out, done = finished
    assert {p.name for p in out.iterdir()} - {".lock"} == FILES
    assert "Model       mini-internvl" in done.stdout
    assert str(out / "results.csv") in done.stdout
    assert "\x1b" not in done.stdout + done.stderr  # no bars and no colours outside a terminal
    assert "it/s" not in done.stderr


def test_results_are_tidy(finished):
    out, _ = finished
    results = rows_of(out / "results.csv")
    assert list(results[0]) == [
        "run", "model", "method", "layer", "strength", "split", "dataset", "variant", "category",
        "metric", "value", "low", "high", "n", "clusters", "mapping",
    ]  # fmt: skip
    assert {r["model"] for r in results} == {"mini-internvl"}
    metrics = {r["metric"] for r in results if r["split"] == "test"}
    assert metrics >= {
        "SRA_u", "SRA_s", "SRA", "RR_h", "RR_b", "DAR_h", "DAR_b", "SCR", "ORR", "delta_IR",
        "utility", "KL",
    }  # fmt: skip
    validated = {(r["layer"], float(r["strength"])) for r in results if r["split"] == "validation"}
    grid = {(layer, strength) for layer in "24" for strength in (-2.0, 0.0, 2.0)}
    assert validated == {("", 0.0)} | grid
    (point,) = json.loads((out / "operating_points.json").read_text(encoding="utf-8"))
    assert (point["method"], point["checkpoint"]) == ("steer", "mini-internvl")
    tested = {r["layer"] for r in results if r["split"] == "test"}
    assert tested == {"", str(point["layer"])}
    for r in results:
        assert float(r["low"] or -9) <= float(r["value"]) <= float(r["high"] or 9)
        assert int(r["n"]) > 0


def test_strength_zero_is_the_uncalibrated_model(finished):
    out, _ = finished
    results = rows_of(out / "results.csv")

    def numbers(layer):
        return {
            (r["split"], r["dataset"], r["variant"], r["category"], r["metric"]): r["value"]
            for r in results
            if r["layer"] == layer and float(r["strength"]) == 0 and r["split"] == "validation"
        }

    assert numbers("2") == numbers("4") == numbers("")
    assert numbers("")


def contents(folder):
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_command_again_changes_no_file(finished):
    out, _ = finished
    before = contents(out)
    again = command("sweep", "method=steer", "model=internvl", *SMALL, f"out={out}")
    assert again.code == 0, again.stderr
    count = len((out / "rows.jsonl").read_text(encoding="utf-8").splitlines())
    assert f"{count:,} rows are saved" in again.stdout
    assert contents(out) == before


@pytest.mark.usefixtures("undrawn")
def test_early_stop_changes_no_label(finished, tmp_path):
    complete, _ = finished
    out = tmp_path / "early"
    done = command("sweep", *SMALL, "generation.early_stop=true", f"out={out}")
    assert done.code == 0, done.stderr

    def read(folder):
        rows = {
            r["row"]: r for r in map(json.loads, (folder / "rows.jsonl").open(encoding="utf-8"))
        }
        labels = [json.loads(line) for line in (folder / "labels.jsonl").open(encoding="utf-8")]
        return {
            (label["example"], label["layer"], label["strength"]): (
                label["label"],
                label["correct"],
                rows[label["row"]],
            )
            for label in labels
        }

    before, after = read(complete), read(out)
    assert {k: v[:2] for k, v in before.items()} == {k: v[:2] for k, v in after.items()}
    cut = [k for k, v in after.items() if v[2]["finish"] == "cut"]
    assert cut
    for key in after:
        assert before[key][2]["response"].startswith(after[key][2]["response"])
    assert sum(v[2]["tokens"] for v in after.values()) < sum(
        v[2]["tokens"] for v in before.values()
    )


@pytest.mark.usefixtures("undrawn")
def test_sampling_is_reproducible_and_depends_on_the_seed(tmp_path):
    def responses(name, *changes):
        out = tmp_path / name
        small = ["data.limit=4", "utility.limit=2", "generation.temperature=1.5"]
        done = command("sweep", "method=none", *small, *changes, f"out={out}")
        assert done.code == 0, done.stderr
        rows = map(json.loads, (out / "rows.jsonl").open(encoding="utf-8"))
        return {(r["example"], r["split"]): r["response"] for r in rows}

    first = responses("a")
    assert responses("b", "generation.batch_rows=3") == first
    assert responses("c", "seed=1") != first


def test_a_killed_run_resumes_to_the_same_bytes(finished, tmp_path):
    complete, _ = finished
    out = tmp_path / "whole"  # the tables name the run after its folder
    arguments = ["method=steer", "model=internvl", *SMALL, f"out={out}"]
    # A process of its own can be killed, and has another hash seed.
    process = subprocess.Popen(
        [sys.executable, "-m", "calib.sweep", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    rows = out / "rows.jsonl"
    deadline = time.monotonic() + 300
    while not (rows.exists() and rows.stat().st_size > 0):
        assert process.poll() is None, "it ended before its first row"
        assert time.monotonic() < deadline, "there was no row in five minutes"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished_rows = len(rows.read_bytes().splitlines())
    assert 0 < finished_rows < len((complete / "rows.jsonl").read_bytes().splitlines())
    with rows.open("ab") as file:
        file.write(b'{"row": "torn')
    with undrawn():
        again = command("sweep", *arguments)
    assert again.code == 0, again.stderr
    tables = ("results.csv", "operating_points.json", "examples.jsonl", DIRECTION)
    for name in ("rows.jsonl", "labels.jsonl", *tables):
        assert (out / name).read_bytes() == (complete / name).read_bytes(), name


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("positions", ["last_prompt", "response", "all"])
def test_an_exported_direction_steers_token_for_token_as_the_run(tmp_path, positions):
    first, again = tmp_path / "first", tmp_path / "again"
    exported = tmp_path / "direction.safetensors"
    tiny = ["data.limit=6", "utility.limit=2", "data.parts=[image_centric]"]
    tiny += ["method.strengths=[-1,1]", "method@reference=none"]
    done = command(
        "sweep", *tiny, "method.layers=[2,3]", f"method.positions={positions}", f"out={first}"
    )
    assert done.code == 0, done.stderr
    (point,) = json.loads((first / "operating_points.json").read_text(encoding="utf-8"))
    done = command("export", f"run={first}", f"out={exported}")
    assert done.code == 0, done.stderr
    card = Path(f"{exported}.md").read_text(encoding="utf-8")
    assert "mini-internvl" in card
    # The export prints the command that steers as the run did.
    command_line = done.stdout.split("python -m calib.sweep ")[1].splitlines()[0].split()
    assert f"method.positions={positions}" in command_line
    assert f"method.layers=[{point['layer']}]" in command_line
    given = f"method.strengths=[{point['strength']:g}]" in command_line
    assert given == (not point["kept_uncalibrated"])  # strength 0 would change nothing
    # Compare all strengths, not only the selected one.
    done = command("sweep", *command_line, *tiny, f"out={again}")
    assert done.code == 0, done.stderr

    def steered(folder):
        rows = map(json.loads, (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines())
        return {
            (r["example"], r["strength"]): (r["row"], r["response"], r["tokens"])
            for r in rows
            if r["edits"] and r["edits"][0]["layer"] == point["layer"]
        }

    assert steered(again) == steered(first)
    assert len(steered(again)) > 20


@pytest.mark.usefixtures("undrawn")
def test_a_direction_with_another_configuration_is_not_used(tmp_path):
    """A sweep never uses a direction in its folder that was fitted in another way."""
    few = ["data.limit=24", "utility.limit=6", "layers=[3]", "kl=null", "max_new_tokens=12"]
    done = command("extract", "contrast=refusal", *few, f"out={tmp_path}")
    assert done.code == 0, done.stderr
    done = command("sweep", *SMALL, f"out={tmp_path}")
    assert done.code == 2
    assert "[different-run]" in done.stderr
    # Fitted to other pairs, or to another contrast, with the expected file name.
    (tmp_path / "run.json").unlink()
    directions = tmp_path / "directions"
    fitted = directions / "refusal-mean_difference-last_prompt-residual.safetensors"
    done = command("sweep", *SMALL, "method.contrast=refusal", f"out={tmp_path}")
    assert done.code == 2
    assert "[mismatch]" in done.stderr and "pair_set" in done.stderr
    for table in (tmp_path / DIRECTION).parent.glob("*.csv"):  # of the pairs of before
        table.unlink()
    fitted.rename(tmp_path / DIRECTION)
    (tmp_path / "run.json").unlink()
    done = command("sweep", *SMALL, f"out={tmp_path}")
    assert done.code == 2
    assert "[mismatch]" in done.stderr
    assert "contrast" in done.stderr and "refusal" in done.stderr and "safety" in done.stderr


def test_plot_draws_the_figures_of_the_run_again(finished, tmp_path):
    complete, _ = finished
    done = command("plot", f"runs=[{complete}]", "figures=[trade_off]", f"out={tmp_path}")
    assert done.code == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == FIGURES
    for name in FIGURES:
        assert (tmp_path / name).read_bytes() == (complete / name).read_bytes(), name


@pytest.mark.usefixtures("undrawn")
def test_refusal_contrast_and_response_positions(tmp_path):
    done = command(
        "sweep", "method.contrast=refusal", "method.positions=response", "data.limit=24",
        "data.parts=[image_centric,text_centric]", "utility.limit=4", "method.layers=3",
        "method.strengths=[1]", f"out={tmp_path / 'run'}", "generation.max_new_tokens=12",
        "method@reference=none",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert {r["layer"] for r in rows_of(tmp_path / "run" / "results.csv")} == {"", "3"}
    from calib.directions.direction import read_direction

    (direction,) = (tmp_path / "run" / "directions").glob("*.safetensors")
    assert direction.name == "refusal-mean_difference-last_prompt-residual.safetensors"
    assert read_direction(direction).contrast == "refusal"
    (point,) = json.loads((tmp_path / "run" / "operating_points.json").read_text(encoding="utf-8"))
    assert (point["method"], point["layer"]) == ("steer", 3)


@pytest.mark.usefixtures("undrawn")
def test_examples_that_an_edit_cannot_change_are_noted(tmp_path):
    done = command(
        "sweep", "method.positions=image", "data.parts=[text_centric]", "data.limit=24",
        "utility.limit=2", "method.layers=2", "method.strengths=[1]", "method@reference=none",
        "generation.max_new_tokens=4", f"out={tmp_path}",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    notes = [line for line in done.stdout.splitlines() if line.startswith("note: ")]
    assert any("positions=image" in note and "steer" in note for note in notes)


@pytest.mark.usefixtures("undrawn")
def test_method_none_runs_the_baseline_only(tmp_path):
    done = command("sweep", "method=none", "data.limit=8", "utility.limit=4", f"out={tmp_path}")
    assert done.code == 0, done.stderr
    assert {r["method"] for r in rows_of(tmp_path / "results.csv")} == {"none"}
    assert "uncalibrated" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "values"),
    [
        (["method=stear"], "unknown-name", ["stear", "'steer'"]),
        (["model=internvi"], "unknown-name", ["internvi", "'internvl'"]),
        (["data=nini"], "unknown-name", ["nini", "'mini'"]),
        (["method.strenghts=[1]"], "unknown-setting", ["strenghts", "'method.strengths'"]),
        (["method.layers=[77]"], "invalid-value", ["77", "mini-internvl", "5"]),
        (["method.direction=/no/such.safetensors"], "not-found", ["/no/such.safetensors"]),
        (["model.checkpoint=/no/such/model"], "unreadable", ["/no/such/model"]),
        (["data=vscbench"], "missing-setting", ["data.root"]),
        (["judge=rules", "data=vscbench", "data.root=/tmp"], "not-found", ["/tmp"]),
        (
            ["judge=llm", "judge.models=[m]", "generation.early_stop=true"],
            "conflicting-settings",
            ["early_stop"],
        ),
        (["data.limit=1"], "too-few", ["data.limit"]),
        (["mapping=papr"], "invalid-setting", ["papr", "'paper'"]),
        (["method.estimator=mean_diference"], "invalid-setting", ["'mean_difference'"]),
        (["data.system=cuation"], "unknown-name", ["cuation", "'caution'"]),
    ],
)
def test_invalid_input_is_a_coded_message_and_exit_code_2(tmp_path, arguments, code, values):
    done = command("sweep", *arguments, f"out={tmp_path / 'run'}")
    assert done.code == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(f"calib.sweep: [{code}] "), done.stderr
    for value in values:
        assert value in done.stderr
    # An invalid command does not claim the folder.
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_folder_of_another_run_is_refused(finished):
    out, _ = finished
    before = (out / "rows.jsonl").read_bytes()
    done = command("sweep", *SMALL, "method.positions=last_prompt", f"out={out}")
    assert done.code == 2
    assert "[different-run]" in done.stderr
    assert 'method.positions: "response" → "last_prompt"' in done.stderr
    assert (out / "rows.jsonl").read_bytes() == before


@pytest.mark.usefixtures("undrawn")
def test_a_run_from_before_settings_were_renamed_is_resumed(tmp_path):
    few = ["data.limit=8", "utility.limit=4", "method.layers=[2,3]", "method.strengths=[1]"]
    few += ["generation.max_new_tokens=4", "method@reference=none"]
    few += ["method.all_layers_at_once=true"]
    first = command("sweep", *few, f"out={tmp_path}")
    assert first.code == 0, first.stderr
    manifest = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    del manifest["crc32"]
    method = manifest["identity"]["method"]
    method["together"] = method.pop("all_layers_at_once")
    method["closed"] = method.pop("otherwise")
    (tmp_path / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    former = [*few[:-1], "method.together=true", "method.closed=nothing"]
    again = command("sweep", *former, f"out={tmp_path}")
    assert again.code == 0, again.stderr
    count = len((tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines())
    assert f"{count:,} rows are saved" in again.stdout
    assert "method.all_layers_at_once" in again.stderr and "method.otherwise" in again.stderr
    changed = command("sweep", *few, "method.closed=opposite", f"out={tmp_path}")
    assert changed.code == 2 and "[different-run]" in changed.stderr


def test_help_imports_no_torch_and_shows_the_groups_and_examples():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "calib.sweep", "--help"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0
    assert done.stdout.count("python -m calib.sweep") >= 3
    for group in ("model", "method", "data", "utility", "judge", "experiment"):
        assert f"\n{group}=" in done.stdout
    assert "torch" not in done.stderr
    assert "transformers" not in done.stderr
