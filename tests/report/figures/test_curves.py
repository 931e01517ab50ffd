"""Curves of runs: points, names, and the plane they share."""

from dataclasses import replace

from curves_made_up import PROMPT, RATES, methods_of, one_method, point, results_of
from measured_made_up import run
from raising import raises

from calib.report.figures.curves import (
    curve_names,
    curves_of,
    kept_note,
    prompt_note,
    shared_plane,
    uncalibrated_models,
    uncalibrated_names,
)
from calib.report.figures.io import NotDrawn
from calib.scoring.results import BASELINE
from calib.scoring.tradeoff import sra_s_and_sra_u, utility_and_sra

STEER = one_method(reference=0.0)


def test_curve_has_the_strengths_of_the_reported_layer_in_order() -> None:
    other_layer = results_of("steer", 5, {7: (0.1, 0.1, 0.1)})
    shuffled = [*reversed(STEER.results), *other_layer]
    steer, caution = curves_of([STEER.replace(results=shuffled)], "test")
    assert [p.strength for p in steer.points] == [-2, -1, 1]
    assert [p.strength for p in steer.through_baseline] == [-2, -1, 0, 1]
    assert steer.chosen is steer.points[-1] and steer.is_line
    assert (caution.reference, caution.prompt_only, caution.chosen) == (True, True, None)
    assert not caution.is_line


def test_measured_strength_0_replaces_the_baseline_in_the_curve() -> None:
    own = results_of("ablate", 3, {1: (0.9, 0.5, 0.9)})
    zero = [replace(r, strength=0.0) for r in own]
    base = [r for r in STEER.results if r.method == BASELINE]
    (curve,) = curves_of([run([*base, *own, *zero], [point("ablate")])], "test")
    assert [p.method for p in curve.through_baseline] == ["ablate", "ablate"]


def test_operating_point_without_results_is_an_error() -> None:
    lost = STEER.replace(operating_points=[point("steer", strength=9.0)])
    with raises("mismatch", "steer", "strength 9", "test"):
        curves_of([lost], "test")
    gone = point("gone", strength=0.0, kept_uncalibrated=False)
    with raises("mismatch", "gone", "strength 0"):
        curves_of([STEER.replace(operating_points=[gone])], "test")
    # If a KL budget leaves no strength, the run keeps the uncalibrated model.
    left = [point("gone", strength=0.0), point("steer")]
    found = curves_of([STEER.replace(operating_points=left)], "test")
    assert [curve.method for curve in found] == ["steer"]


def test_run_without_results_is_not_drawn() -> None:
    extracted = run([], [])
    with raises("missing-value", "calib.sweep", error=NotDrawn):
        uncalibrated_models([extracted], "test")
    assert len(curves_of([extracted, STEER], "test")) == 2
    with raises("missing-value", "'run'", "'train'", error=NotDrawn):
        curves_of([STEER], "train")
    steered = [r for r in STEER.results if r.method != BASELINE]
    with raises("missing-value", BASELINE):
        uncalibrated_models([run(steered, [])], "test")


def test_runs_that_agree_share_the_uncalibrated_model_and_the_reference() -> None:
    agreeing = one_method("ablate", reference=0.0, name="second")
    other_data = one_method(by_strength=RATES | {0: (0.6, 0.6, 0.9)}, name="third")
    models = uncalibrated_models([STEER, agreeing, other_data], "test")
    assert [model.run for model in models] == ["run", "third"]
    assert uncalibrated_names(models) == ["uncalibrated (run)", "uncalibrated (third)"]
    curves = curves_of([STEER, agreeing, other_data], "test")
    assert [curve.method for curve in curves] == ["steer", "caution", "ablate", "steer"]
    assert [models[0].is_baseline_of(c) for c in curves] == [True, True, True, False]
    elsewhere = one_method(reference=0.0, model="other")
    assert len(curves_of([STEER, elsewhere], "test")) == 4
    assert not models[0].is_baseline_of(curves_of([elsewhere], "test")[0])


def test_names_include_what_distinguishes_curves() -> None:
    curves = curves_of([STEER], "test")
    assert curve_names(curves) == ["steer, layer 3", "caution*"]
    assert curve_names(curves, layers=False) == ["steer", "caution*"]
    twice = curves_of(
        [STEER, one_method(name="second", by_strength=RATES | {1: (1, 1, 1)})], "test"
    )
    assert curve_names(twice) == ["steer, layer 3 (run)", "caution*", "steer, layer 3 (second)"]
    both = [STEER, one_method("ablate", model="other/model")]
    assert curve_names(curves_of(both, "test"))[::2] == [
        "model: steer, layer 3",
        "other/model: ablate, layer 3",
    ]
    assert uncalibrated_names(uncalibrated_models(both, "test")) == [
        "uncalibrated model",
        "uncalibrated other/model",
    ]


def test_shared_plane_is_measured_in_all_runs() -> None:
    without = one_method(by_strength={k: (*v[:2], None) for k, v in RATES.items()}, name="b")
    assert shared_plane(uncalibrated_models([STEER], "test")) is utility_and_sra
    assert shared_plane(uncalibrated_models([STEER, without], "test")) is sra_s_and_sra_u


def test_notes_name_kept_and_prompt_only_methods() -> None:
    curves = curves_of([methods_of({"a": 0.1, "b": -0.1, "c": -0.2}, prompts=["c"])], "test")
    assert kept_note(curves, curve_names(curves)).endswith(": b, layer 3, c*.")
    assert kept_note(curves[:1], ["a"]) == ""
    assert prompt_note(curves).startswith("*") and PROMPT
    assert "*" not in prompt_note(curves[:2])
