"""The selection of the layer and the operating point that a grid is reported at."""

from dataclasses import replace

import pytest
import torch
from judged_runs import UNCALIBRATED, query_rows, question_rows
from raising import raises

from calib.config.choose import ChooseConfig
from calib.directions.direction import Direction
from calib.interventions.intervention import Axis, Demonstrations, Intervention, Method
from calib.runs.checks.files import points_text, read_operating_points
from calib.runs.operating_points import (
    direction_note,
    fit_details,
    operating_point_records,
    select_operating_points,
)
from calib.runs.reported_methods import reported_methods
from calib.runs.selection_notes import selection_notes, variant_notes
from calib.scoring.results import BASELINE
from calib.scoring.score import score
from calib.scoring.tradeoff import points_of

SIDES = {"SRA_u": "unsafe", "SRA_s": "safe"}


def rows(method, layer, strength, unsafe, safe=20, right=38, split="validation"):
    """40 unsafe and 40 safe queries and, unless ``right`` is None, 40 questions."""
    setting = (method, layer, strength)
    found = query_rows(setting, unsafe, safe, split=split)
    return found + (question_rows(setting, right, split=split) if right is not None else [])


BASE = rows(*UNCALIBRATED, 20)


def select(judged, method, **rule):
    on_validation = [row for row in judged if row.split == "validation"]
    choose = ChooseConfig(**rule)
    chosen = select_operating_points(on_validation, score(judged), [method], choose, "calib")
    return chosen[method]


def test_the_layer_of_the_best_point_is_selected():
    judged = [*BASE, *rows("steer", 2, 1.0, 24), *rows("steer", 4, 2.0, 30),
              *rows("other", 6, 1.0, 39)]  # fmt: skip
    selection = select(judged, "steer")
    point = selection.choice.point
    assert (selection.layer, point.layer, point.strength, selection.settings) == (4, 4, 2.0, 2)


def test_a_layer_is_selected_even_if_no_setting_is_better():
    selection = select([*BASE, *rows("steer", 2, 1.0, 18)], "steer")
    assert selection.layer == 2 and selection.choice.kept_baseline


def test_a_method_without_layers_has_no_layer():
    selection = select([*BASE, *rows("reminder", None, 1.0, 30)], "reminder")
    assert selection.layer is None and selection.choice.point.method == "reminder"


def test_the_operating_point_is_selected_on_validation():
    better = rows("reminder", None, 2.0, 40, split="test")
    tested = rows(*UNCALIBRATED, 20, split="test")
    judged = [*BASE, *tested, *rows("reminder", None, 1.0, 30), *better]
    assert select(judged, "reminder").choice.point.strength == 1.0


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("right", [38, None])
def test_the_rate_of_the_only_side_stands_for_sra(side, right):
    judged = [
        row
        for row in [*rows(*UNCALIBRATED, 20, 20, right), *rows("steer", 2, 1.0, 28, 28, right),
                    *rows("steer", 3, 1.0, 32, 32, right)]
        if row.safety in (None, SIDES[side])
    ]  # fmt: skip
    selection = select(judged, "steer")
    assert (selection.layer, selection.choice.point.sra.value) == (3, 0.8)


def test_results_without_the_uncalibrated_model_are_refused():
    with raises("missing-value", "'none'"):
        select(rows("steer", 2, 1.0, 28, right=None), "steer")


GRID = [
    *BASE,
    *rows("steer", 2, 1.0, 8, 40),  # the highest SRA, but SRA_u fell by 30 points
    *rows("steer", 2, 2.0, 39, 40, right=20),  # higher still, but 18 of 40 questions were lost
    *rows("steer", 3, 1.0, 21, 22),
]


def test_excluded_settings_are_not_chosen_at_any_layer_and_are_counted():
    selection = select(GRID, "steer")
    assert (selection.layer, selection.choice.point.strength) == (3, 1.0)
    assert selection.settings == 3
    assert selection.counts == {"utility_tolerance": 1, "min_sra_u": 1, "undecided": 1}
    assert selection.change.utility.value == 0
    without = select(GRID, "steer", min_sra_u=None, utility_tolerance=1.0)
    assert (without.layer, without.choice.point.strength, without.counts) == (2, 2.0, {})


def test_only_tested_settings_are_chosen_but_all_are_counted():
    rule = ChooseConfig()
    tested = {point.key for point in points_of(score(GRID), "validation") if point.layer != 3}
    (kept,) = select_operating_points(GRID, score(GRID), ["steer"], rule, "calib", tested).values()
    assert kept.layer == 2 and kept.choice.kept_baseline
    assert (kept.settings, kept.counts) == (3, select(GRID, "steer").counts)


def test_prompt_methods_are_chosen_by_the_same_rule():
    judged = [*BASE, *rows("caution", None, 1.0, 8, 40)]
    selection = select(judged, "caution")
    assert selection.choice.kept_baseline and selection.counts["min_sra_u"] == 1


def test_the_rule_and_its_outcome_are_on_record():
    selection, rule = select(GRID, "steer"), ChooseConfig()
    (record,) = operating_point_records("m", {"steer": selection}, rule, {}, [])
    assert record["choose"] == {
        "utility_tolerance": 0.01, "confidence": 0.95, "min_sra_u": "baseline",
        "weights": {"sra_u": 1.0, "sra_s": 1.0},
    }  # fmt: skip
    counts = ("settings", "excluded_by_utility_tolerance", "excluded_by_min_sra_u", "undecided")
    assert [record[name] for name in counts] == [3, 1, 1, 1]
    # No answer of 40 changed: z^2 / (n + z^2) to each side.
    assert record["utility_change"] == pytest.approx([0, -0.0876, 0.0876], abs=1e-4)
    assert record["sra_u_change"][0] == pytest.approx(1 / 40)


def test_notes_say_what_was_excluded_and_where_the_questions_cannot_tell():
    selected, rule = {"steer": select(GRID, "steer")}, ChooseConfig()
    utility, sra_u, undecided = selection_notes(selected, rule)
    assert "choose.utility_tolerance" in utility and "1 of 3" in utility
    assert "choose.min_sra_u" in sra_u and "1 of 3" in sra_u
    assert all(text in undecided for text in ("choose.utility_tolerance", "1 of 3", "381", "40 "))
    # Even a single question would do for this tolerance, but answers changed.
    (changed,) = selection_notes(
        {"steer": select([*BASE, *rows("steer", 2, 1.0, 30, right=38)], "steer")},
        ChooseConfig(utility_tolerance=0.1),
    )
    assert "1 of 1" in changed and "10 points" in changed and "needed" not in changed
    (lost,) = selection_notes(
        {"steer": select([*BASE, *rows("steer", 2, 1.0, 19)], "steer")}, rule
    )[1:]
    assert "choose.min_sra_u" in lost and "1 of 1" in lost and "40 clusters" in lost
    several = selected | {"other": select([*BASE, *rows("other", 1, 1.0, 30, right=20)], "other")}
    assert "2 of 4 settings (steer 1, other 1)" in selection_notes(several, rule)[0]
    assert selection_notes({BASELINE: select(BASE, BASELINE)}, rule) == []


def test_records_of_earlier_versions_have_no_condition_on_sra_u(tmp_path):
    judged = [*GRID, *rows(*UNCALIBRATED, 20, split="test"),
              *rows("steer", 3, 1.0, 21, split="test")]  # fmt: skip
    (record,) = operating_point_records(
        "m", {"steer": select(GRID, "steer")}, ChooseConfig(), {}, []
    )
    (now,) = reported_methods(tmp_path, [record], score(judged))
    assert now.choice.min_sra_u == "baseline"
    kept = ("method", "layer", "strength", "strength_means", "tolerance", "kept_uncalibrated")
    (before,) = reported_methods(tmp_path, [{name: record[name] for name in kept}], score(judged))
    assert before.choice.min_sra_u is None and before.choice.point == now.choice.point


def test_a_record_names_the_selected_variant_and_where_labels_are_used(tmp_path):
    def fitted(name, supervision, variants):
        axis = Axis("any", integer=True)
        return Method(name, axis, [None], lambda *_: Intervention(), supervision=supervision,
                      variants=variants)  # fmt: skip

    details = {
        "reminder": fit_details(fitted("reminder", "none", {1: "a", 7: "b"})),
        "gated": fit_details(fitted("gated", "gate", {})),
    }
    judged = [*BASE, *rows(*UNCALIBRATED, 20, split="test")]
    for name in details:
        for split in ("validation", "test"):
            judged += rows(name, None, 1.0, 22, split=split) + rows(
                name, None, 7.0, 30, split=split
            )
    selected = {name: select(judged, name) for name in details}
    assert details["gated"] == {"supervision": "gate"}
    assert variant_notes(selected, details) == ["reminder: strength 7 is b"]
    rule = ChooseConfig()
    records = operating_point_records("m", selected, rule, {}, ["reminder"], None, details)
    reminder, gated = reported_methods(tmp_path, records, score(judged))
    assert (reminder.tested.strength, reminder.variant) == (7.0, "b")
    assert (reminder.settings, reminder.supervision) == (2, "none")
    assert (gated.variant, gated.settings, gated.supervision) == ("", 2, "gate")
    older = [{k: v for k, v in record.items() if k not in ("settings", "supervision", "variants")}
             for record in records]  # fmt: skip
    found = reported_methods(tmp_path, older, score(judged))
    assert [(m.variant, m.settings, m.supervision) for m in found] == [("", None, "")] * 2


def test_a_record_states_what_the_fit_picked_from_the_data(tmp_path):
    shown = {2: {"image_centric": Demonstrations(["a", "b"], "0123456789abcdef")}}
    method = Method("few", Axis("any"), [None], lambda *_: Intervention(), notes=["few: gate 0.5"],
                    demonstrations=shown)  # fmt: skip
    details = {"steer": fit_details(method, ["few: within the budget"])}
    selected = {"steer": select(GRID, "steer")}
    records = operating_point_records("m", selected, ChooseConfig(), {}, [], None, details)
    path = tmp_path / "operating_points.json"
    path.write_text(points_text(records, []), encoding="utf-8")
    (record,) = read_operating_points(path)
    assert record["fit_notes"] == ["few: gate 0.5", "few: within the budget"]
    assert record["demonstrations"] == {
        "2": {"image_centric": {"ids": ["a", "b"], "checksum": "0123456789abcdef"}}
    }
    (changed,) = records
    for field, wrong in (("fit_notes", "text"), ("demonstrations", ["a"])):
        path.write_text(points_text([{**changed, field: wrong}], []), encoding="utf-8")
        with raises("unreadable", field):
            read_operating_points(path)


def test_a_direction_that_is_not_above_chance_at_the_selected_layer_is_noted():
    direction = Direction(
        torch.eye(2), *torch.ones(3, 2), [3, 5], "m", None, "f",
        auroc=[0.4, 0.9], auroc_pairs=40, auroc_low=[0.2, 0.8], auroc_high=[0.6, 1.0],
    )  # fmt: skip
    steer = Method("steer", Axis("any"), [3, 5], lambda *_: Intervention(), direction)
    assert "layer 3" in direction_note(steer, 3) and "n=40 " in direction_note(steer, 3)
    assert [direction_note(steer, layer) for layer in (5, None, 4)] == ["", "", ""]
    assert direction_note(replace(steer, direction=None), 3) == ""
