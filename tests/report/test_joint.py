"""Several runs as one: which runs can be joined, one correction, and the same pairs for every
method."""

from dataclasses import replace
from pathlib import Path

import pytest
from judged_runs import UNCALIBRATED, judged_run, query_rows, question_rows
from raising import raises

from calib.report.advice.recommendation import best_on_validation, recommend
from calib.report.figures.method_styles import method_style
from calib.report.joint import NotJoint, join_runs, joined_if_possible
from calib.report.ranking import rank_methods
from calib.report.terminal import show_report
from calib.runs.run_files import LabelledRow
from calib.scoring.score import score

SPLITS = ("validation", "test")
BEFORE = (20, 36)


def run_of(name, methods, each=40, before=BEFORE, reference=None, prompts=(), **parts):
    """A run whose methods have this many right responses to unsafe and to safe queries.

    On validation a method is as right as on test, or as its third and fourth number say.
    """
    judged = []
    for split in SPLITS:
        judged += query_rows(UNCALIBRATED, *before, each=each, split=split)
        judged += question_rows(UNCALIBRATED, 40, split=split)
        for method, right in methods.items():
            setting = (method, None if method in prompts else 3, 1.0)
            own = right[2:] if split == "validation" and right[2:] else right[:2]
            judged += query_rows(setting, *own, each=each, split=split)
            judged += question_rows(setting, 40, split=split)
    chosen = {method: (None if method in prompts else 3, 1.0) for method in methods}
    run = judged_run(judged, chosen, prompts=prompts, reference=reference)
    rows = [LabelledRow(r.method, r.layer, r.strength, f"{k}", r.example_id, r.label)
            for k, r in enumerate(judged)]  # fmt: skip
    own = {"name": name, "rows": rows, "judged": judged, "responses": {}, "manifest": {}}
    own |= {"settings": settings(), "folder": Path("runs") / name, "results": score(judged)}
    return run.replace(**own | parts)


def settings(**own):
    fixed = {"data": {"name": "pairs", "limit": None}, "mapping": "calib", "generation": {}}
    return fixed | {"model": {"name": "internvl"}, "method": {"name": "none"}, "methods": {}} | own


def names(ranked):
    return [verdict.method.name for verdict in ranked]


def test_p_values_are_adjusted_once_over_the_methods_of_all_runs():
    one, two = run_of("one", {"five": (25, 36)}), run_of("two", {"four": (24, 36)})
    assert [verdict.p for verdict in rank_methods(one)] == [0.0625]  # 2 / 2^5
    ranked = rank_methods(join_runs([one, two]).run)
    assert names(ranked) == ["five", "four"]
    assert [verdict.p for verdict in ranked] == [0.125, 0.125]  # doubled, and monotonic
    assert [verdict.source for verdict in ranked] == ["one", "two"]
    assert all(verdict.rank.high == 2 for verdict in ranked)


def test_methods_of_two_runs_are_compared_on_the_same_pairs():
    joint = join_runs([run_of("one", {"steer": (30, 36)}), run_of("two", {"ablate": (26, 34)})])
    steer, ablate = rank_methods(joint.run)
    change = steer.against(ablate.method.tested)
    assert change.sra.value == pytest.approx((4 / 40 + 2 / 40) / 2)
    assert (change.sra.n, change.sra.clusters) == (80, 40)


def test_a_method_that_two_runs_have_is_numbered_and_keeps_its_colour():
    joint = join_runs([run_of("one", {"steer": (30, 36)}), run_of("two", {"steer": (24, 36)})])
    assert names(rank_methods(joint.run)) == ["steer (1)", "steer (2)"]
    run, name = joint.sources["steer (2)"]
    assert (run.name, name) == ("two", "steer")
    assert any("(1): one" in note and "(2): two" in note for note in joint.notes)
    assert method_style("steer (2)") == method_style("steer")
    own = {row.method for row in joint.run.rows}
    assert own == {"none", "steer (1)", "steer (2)"} == {row.method for row in joint.run.judged}


def test_a_method_with_the_name_of_a_numbered_one_is_not_lost():
    runs = [run_of("one", {"steer": (30, 36)}), run_of("two", {"steer": (24, 36)}),
            run_of("three", {"steer (2)": (26, 36), "steer (2) (2)": (28, 36)})]  # fmt: skip
    joint = join_runs(runs)
    sources = {name: (run.name, method) for name, (run, method) in joint.sources.items()}
    assert sources == {
        "steer (1)": ("one", "steer"), "steer (2) (2) (2)": ("two", "steer"),
        "steer (2)": ("three", "steer (2)"), "steer (2) (2)": ("three", "steer (2) (2)"),
    }  # fmt: skip
    right = {v.method.name: v.method.tested.sra_u.value for v in rank_methods(joint.run)}
    assert right["steer (2) (2) (2)"] == 24 / 40 and right["steer (2)"] == 26 / 40
    twice = [*runs, run_of("four", {"steer (2)": (22, 36)})]
    found = {name: run.name for name, (run, _) in join_runs(twice).sources.items()}
    assert found["steer (2)"] == "two" and found["steer (2) (4)"] == "four" and len(found) == 5


def test_the_settings_searched_are_those_of_each_run_where_only_some_queries_are_shared():
    one, two = run_of("one", {"steer": (30, 36)}), run_of("two", {"ablate": (26, 36)}, each=44)
    tried = [replace(r, strength=s) for s in (2.0, 3.0) for r in one.judged if r.method == "steer"]
    judged = [*one.judged, *tried]
    older = [
        {k: v for k, v in record.items() if k != "settings"} for record in one.operating_points
    ]
    rows = [*one.rows, *(replace(one.rows[0], method="steer") for _ in tried)]
    one = one.replace(operating_points=older, judged=judged, results=score(judged), rows=rows)
    steer, _ = rank_methods(join_runs([one, two]).run)
    assert (steer.method.name, steer.settings_searched) == ("steer", 3)


def test_the_same_responses_count_once():
    one = run_of("one", {"steer": (30, 36), "caution": (24, 36)}, prompts=("caution",),
                 reference="caution")  # fmt: skip
    two = run_of("two", {"ablate": (26, 36), "caution": (24, 36)}, prompts=("caution",))
    ranked = rank_methods(join_runs([one, two]).run)
    assert names(ranked) == ["steer", "ablate", "caution"]
    assert not ranked[-1].method.reference  # that of the second run, a method of its own
    again = join_runs([one, one.replace(name="copy")])
    assert names(rank_methods(again.run)) == ["steer", "caution"]
    assert any("steer of copy" in note for note in again.notes)


def test_a_prompt_only_run_is_the_bar():
    prompts = run_of("prompts", {"caution": (24, 36), "reminder": (22, 36)},
                     prompts=("caution", "reminder"))  # fmt: skip
    better = join_runs([run_of("one", {"steer": (34, 36)}), prompts])
    advice = recommend(rank_methods(better.run))
    assert advice.switch_on and advice.verdict.source == "one"
    assert "caution" in advice.prompt and "Yes" in advice.prompt and "+" not in advice.action
    assert f"{100 * 10 / 40 / 2:.1f} points" in advice.prompt and "n = 80" in advice.prompt
    equal = join_runs([run_of("one", {"steer": (33, 36, 34, 36)}),
                       run_of("two", {"caution": (33, 36)}, prompts=("caution",))])  # fmt: skip
    assert "Not measurably" in recommend(rank_methods(equal.run)).prompt
    alone = recommend(rank_methods(run_of("one", {"steer": (34, 36)})))
    assert "no run has a prompt-only method" in alone.prompt


def test_validation_chooses_between_the_runs():
    # On test the method of run two looks better. The extra pairs of run one do not count.
    one = run_of("one", {"steer": (30, 36, 34, 36)}, each=44)
    two = run_of("two", {"ablate": (34, 36, 30, 36)})
    joint = join_runs([one, two])
    ranked = rank_methods(joint.run)
    assert names(ranked) == ["ablate", "steer"]
    best = best_on_validation(ranked)
    assert best.method.name == "steer" and best.change.sra.n == 80
    assert best.validation_sra == pytest.approx((34 / 40 + 36 / 40) / 2)
    assert any("80 (one 88, two 80)" in note for note in joint.notes)


@pytest.mark.parametrize(
    ("parts", "values"),
    [
        ({"checkpoint": "another/model"}, ["another/model"]),
        ({"manifest": {"identity": {"fingerprint": "abcd"}}}, ["abcd"]),
        ({"judge": "another judge"}, ["another judge"]),
        ({"settings": settings(data={"name": "other", "limit": None})}, ["other"]),
        ({"settings": settings(mapping="paper")}, ["paper"]),
        ({"settings": settings(generation={"max_new_tokens": 7})}, ["max_new_tokens", "7"]),
    ],
)  # fmt: skip
def test_runs_under_other_conditions_have_no_joint_verdict(parts, values):
    one = run_of("one", {"steer": (30, 36)})
    two = run_of("two", {"ablate": (26, 36)}, **parts)
    with raises("mismatch", *values, error=NotJoint):
        join_runs([one, two])
    text = show_report([one, two], {})
    assert values[0] in text and text.count("Run ") == 2 and "p (Holm)" not in text


def test_another_uncalibrated_model_or_no_shared_query_has_no_joint_verdict():
    one = run_of("one", {"steer": (30, 36)})
    with raises("mismatch", "2 of 240", error=NotJoint):
        join_runs([one, run_of("two", {"ablate": (26, 36)}, before=(21, 36))])
    test_only = [row for row in one.judged if row.split == "test"]
    with raises("too-few", "validation", error=NotJoint):
        join_runs([one, one.replace(name="two", judged=test_only)])


def test_a_measured_cost_is_not_left_out_because_another_run_has_no_utility_questions():
    one, two = run_of("one", {"steer": (30, 36)}), run_of("two", {"ablate": (26, 36)})
    queries_only = two.replace(judged=[r for r in two.judged if r.dataset != "utility"])
    with raises("too-few", "utility", error=NotJoint):
        join_runs([one, queries_only])


def test_a_single_run_needs_no_joint_verdict():
    assert joined_if_possible([run_of("one", {"steer": (30, 36)})]) == (None, "")


def test_the_terminal_opens_with_one_recommendation_over_all_runs():
    name = "evil\x1b[31m\n" + "x" * 100
    runs = [run_of("one", {"steer": (30, 36)}), run_of(name, {"steer": (26, 36)})]
    text = show_report(runs, {"report": Path("out.html")})
    assert text.count("Switch ") == 1 and text.endswith("Open out.html\n")
    assert text.index("2 runs") < text.index("Switch on steer (1)") < text.index("p (Holm)")
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    assert "calib.serve run=runs/one" in text
    assert max(map(len, text.splitlines())) <= 100
