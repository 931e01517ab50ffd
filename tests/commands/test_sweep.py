"""The main job through its command line, small: what a user runs, kills, repeats and mistypes."""

import csv
import json
import os
import re
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
"""What a run of one method leaves."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished small sweep and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = command("sweep", "method=steer", "model=internvl", *SMALL, f"out={out}")
    assert done.code == 0, done.stderr
    return out, done


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_leaves_everything_that_was_promised(finished):
    out, done = finished
    assert {p.name for p in out.iterdir()} - {".lock"} == FILES
    assert "Checkpoint  mini-internvl" in done.stdout
    assert str(out / "results.csv") in done.stdout
    assert "\x1b" not in done.stdout + done.stderr  # not a terminal: no bars, no colours
    assert "it/s" not in done.stderr


def test_results_are_tidy(finished):
    out, _ = finished
    results = rows_of(out / "results.csv")
    assert list(results[0]) == [
        "run", "model", "method", "layer", "strength", "split", "dataset", "variant", "category",
        "metric", "value", "low", "high", "n",
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
    (point,) = json.loads((out / "operating_points.json").read_text())
    assert (point["method"], point["checkpoint"]) == ("steer", "mini-internvl")
    chosen = str(point["layer"])
    tested = {r["layer"] for r in results if r["split"] == "test"}
    assert tested == {"", chosen}
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


def test_the_same_command_again_does_nothing_new(finished):
    out, _ = finished
    before = contents(out)
    again = command("sweep", "method=steer", "model=internvl", *SMALL, f"out={out}")
    assert again.code == 0, again.stderr
    assert "rows were answered before" in again.stdout
    assert contents(out) == before


@pytest.mark.usefixtures("undrawn")
def test_early_stop_changes_no_label(finished, tmp_path):
    whole, _ = finished
    out = tmp_path / "early"
    done = command("sweep", *SMALL, "generation.early_stop=true", f"out={out}")
    assert done.code == 0, done.stderr

    def read(folder):
        rows = {r["row"]: r for r in map(json.loads, (folder / "rows.jsonl").open())}
        labels = [json.loads(line) for line in (folder / "labels.jsonl").open()]
        return {
            (one["example"], one["layer"], one["strength"]): (one["label"], one["correct"],
                                                             rows[one["row"]])
            for one in labels
        }  # fmt: skip

    before, after = read(whole), read(out)
    assert {k: v[:2] for k, v in before.items()} == {k: v[:2] for k, v in after.items()}
    cut = [k for k, v in after.items() if v[2]["finish"] == "cut"]
    assert cut
    for key in after:
        assert before[key][2]["response"].startswith(after[key][2]["response"])
    assert sum(v[2]["tokens"] for v in after.values()) < sum(
        v[2]["tokens"] for v in before.values()
    )


@pytest.mark.usefixtures("undrawn")
def test_sampling_is_repeatable_and_follows_the_seed(tmp_path):
    def responses(name, *changes):
        out = tmp_path / name
        small = ["data.limit=4", "utility.limit=2", "generation.temperature=1.5"]
        done = command("sweep", "method=none", *small, *changes, f"out={out}")
        assert done.code == 0, done.stderr
        rows = map(json.loads, (out / "rows.jsonl").open())
        return {(r["example"], r["split"]): r["response"] for r in rows}

    first = responses("a")
    assert responses("b", "generation.batch_rows=3") == first
    assert responses("c", "seed=1") != first


def test_kill_9_and_the_same_command_give_the_same_bytes(finished, tmp_path):
    whole, _ = finished
    out = tmp_path / "whole"  # the folder's name is the run's name in its tables
    arguments = ["method=steer", "model=internvl", *SMALL, f"out={out}"]
    # A real process: it alone can be killed, and its hash seed is another one.
    process = subprocess.Popen(
        [sys.executable, "-m", "calib.sweep", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    rows = out / "rows.jsonl"
    deadline = time.monotonic() + 300
    while not (rows.exists() and rows.stat().st_size > 0):
        assert process.poll() is None, "it ended before it answered a row"
        assert time.monotonic() < deadline, "no row was answered in five minutes"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done_before = len(rows.read_bytes().splitlines())
    assert 0 < done_before < len((whole / "rows.jsonl").read_bytes().splitlines())
    with rows.open("ab") as file:
        file.write(b'{"row": "torn')
    with undrawn():
        again = command("sweep", *arguments)
    assert again.code == 0, again.stderr
    tables = ("results.csv", "operating_points.json", "examples.jsonl", DIRECTION)
    for name in ("rows.jsonl", "labels.jsonl", *tables):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("positions", ["last_prompt", "response", "all"])
def test_export_and_back_steers_the_same_token_for_token(tmp_path, positions):
    whole, out = tmp_path / "whole", tmp_path / "again"
    exported = tmp_path / "direction.safetensors"
    tiny = ["data.limit=6", "utility.limit=2", "data.parts=[image_centric]"]
    tiny += ["method.strengths=[-1,1]", "method@reference=none"]
    done = command(
        "sweep", *tiny, "method.layers=[2,3]", f"method.positions={positions}", f"out={whole}"
    )
    assert done.code == 0, done.stderr
    (point,) = json.loads((whole / "operating_points.json").read_text())
    done = command("export", f"run={whole}", f"out={exported}")
    assert done.code == 0, done.stderr
    card = exported.with_suffix(".md").read_text()
    assert "mini-internvl" in card
    assert "model organism" in card
    # What it prints is the command that steers as the run did.
    hint = done.stdout.split("python -m calib.sweep ")[1].split()
    assert f"method.positions={positions}" in hint
    assert f"method.layers=[{point['layer']}]" in hint
    assert f"method.strengths=[{point['strength']:g}]" in hint
    # The strengths that were not chosen are repeated too.
    done = command("sweep", *hint, *tiny, f"out={out}")
    assert done.code == 0, done.stderr

    def steered(folder):
        found = map(json.loads, (folder / "rows.jsonl").read_text().splitlines())
        return {
            (r["example"], r["strength"]): (r["row"], r["response"], r["tokens"])
            for r in found
            if r["edits"] and r["edits"][0]["layer"] == point["layer"]
        }

    assert steered(out) == steered(whole)
    assert len(steered(out)) > 20


def test_a_direction_fitted_otherwise_is_not_used(finished, tmp_path):
    """What extract leaves in a folder must not become a sweep's direction unnoticed."""
    few = ["data.limit=24", "utility.limit=6", "layers=[3]", "kl=null", "max_new_tokens=12"]
    done = command("extract", "contrast=refusal", *few, f"out={tmp_path}")
    assert done.code == 0, done.stderr
    done = command("sweep", *SMALL, f"out={tmp_path}")
    assert done.code == 2
    assert "holds a run of something else" in done.stderr
    # Fitted to other pairs, or to another contrast, under the very name that is looked for.
    (tmp_path / "run.json").unlink()
    directions = tmp_path / "directions"
    fitted = directions / "refusal-mean_difference-last_prompt-residual.safetensors"
    done = command("sweep", *SMALL, "method.contrast=refusal", f"out={tmp_path}")
    assert done.code == 2
    assert "a direction fitted otherwise (pair_set: " in done.stderr
    fitted.rename(tmp_path / DIRECTION)
    (tmp_path / "run.json").unlink()
    done = command("sweep", *SMALL, f"out={tmp_path}")
    assert done.code == 2
    assert "a direction fitted otherwise (contrast: refusal, now safety)" in done.stderr


def test_plot_draws_from_the_record_alone(finished, tmp_path):
    whole, _ = finished
    done = command("plot", f"runs=[{whole}]", "figures=[trade_off]", f"out={tmp_path}")
    assert done.code == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == FIGURES
    for name in FIGURES:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name


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

    (kept,) = (tmp_path / "run" / "directions").glob("*.safetensors")
    assert kept.name == "refusal-mean_difference-last_prompt-residual.safetensors"
    assert read_direction(kept).contrast == "refusal"
    (point,) = json.loads((tmp_path / "run" / "operating_points.json").read_text())
    assert (point["method"], point["layer"]) == ("steer", 3)


@pytest.mark.usefixtures("undrawn")
def test_examples_that_an_edit_cannot_reach_are_told(tmp_path):
    done = command(
        "sweep", "method.positions=image", "data.parts=[text_centric]", "data.limit=24",
        "utility.limit=2", "method.layers=2", "method.strengths=[1]", "method@reference=none",
        "generation.max_new_tokens=4", f"out={tmp_path}",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert "examples have no picture: positions=image of steer edits nothing" in done.stdout


@pytest.mark.usefixtures("undrawn")
def test_method_none_is_the_baseline_alone(tmp_path):
    done = command("sweep", "method=none", "data.limit=8", "utility.limit=4", f"out={tmp_path}")
    assert done.code == 0, done.stderr
    assert {r["method"] for r in rows_of(tmp_path / "results.csv")} == {"none"}
    assert "uncalibrated" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method=stear"], r"stear.*steer"),
        (["model=internvi"], r"internvi.*internvl"),
        (["data=nini"], r"nini.*mini"),
        (["method.strenghts=[1]"], r"strenghts.*method\.strengths"),
        (["method.layers=[77]"], "layer 77 does not exist: mini-internvl has layers 0 to 5"),
        (["method.direction=/no/such.safetensors"], "no direction file at '/no/such.safetensors'"),
        (["model.checkpoint=/no/such/model"], "/no/such/model could not be loaded"),
        (["data=vscbench"], r"data\.root"),
        (["judge=rules", "data=vscbench", "data.root=/tmp"], "vscbench"),
        (["judge=llm", "judge.models=[m]", "generation.early_stop=true"], "judges whole responses"),
        (["data.limit=1"], "has no examples. Raise data.limit"),
        (["mapping=papr"], "papr.*paper"),
        (["method.estimator=mean_diference"], "mean_diference.*mean_difference"),
        (["data.system=cuation"], "cuation.*caution"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(tmp_path, arguments, message):
    done = command("sweep", *arguments, f"out={tmp_path / 'run'}")
    assert done.code == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(message, done.stderr, re.DOTALL), done.stderr
    # A typing error does not claim the folder.
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_folder_of_another_run_is_refused(finished):
    out, _ = finished
    before = (out / "rows.jsonl").read_bytes()
    done = command("sweep", *SMALL, "method.positions=response", f"out={out}")
    assert done.code == 2
    assert 'method.positions: "last_prompt" → "response"' in done.stderr
    assert (out / "rows.jsonl").read_bytes() == before


def test_help_is_fast_and_shows_the_groups_and_three_commands():
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "calib.sweep", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    seconds = time.monotonic() - start
    assert done.returncode == 0
    assert done.stdout.count("python -m calib.sweep") >= 3
    for group in ("model", "method", "data", "utility", "judge", "experiment"):
        assert f"\n{group}=" in done.stdout
    assert "torch" not in done.stderr
    assert "transformers" not in done.stderr
    assert seconds < 20  # only a hang fails here; the imports above are what makes it fast
