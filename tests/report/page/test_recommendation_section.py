"""The recommendation: chosen on validation, measured on test, and how it can be deployed."""

from dataclasses import replace

from judged_runs import UNCALIBRATED, judged_run, query_rows, question_rows

from calib.report.advice.deployment import deployment
from calib.report.advice.recommendation import best_on_validation, recommend
from calib.report.page.recommendation_section import recommendation_section
from calib.report.ranking import rank_methods
from calib.report.verdict import PLAIN_NAMES, Effect


def advice(run):
    return recommend(rank_methods(run))


def with_second(run, validation):
    """Add a method with the responses of steer at strength 2, and SRA ``validation`` there."""
    own = {"method": "ablate", "layer": 3, "strength": 1.0}
    results = [
        replace(r, **own, value=validation if r.split == "validation" and "SRA" in r.metric
                else r.value)
        for r in run.results if r.strength == 2
    ]  # fmt: skip
    rows = [replace(row, **own) for row in run.rows if row.strength == 2]
    points = [*run.operating_points, run.operating_points[0] | own]
    judged = [replace(row, **own) for row in run.judged if row.strength == 2]
    return run.replace(results=[*run.results, *results], rows=[*run.rows, *rows],
                       judged=[*run.judged, *judged], operating_points=points)  # fmt: skip


def test_a_setting_that_helped_is_recommended_with_its_gain_cost_and_n(run):
    recommended = advice(run)
    assert recommended.switch_on and recommended.verdict.method.name == "steer"
    (change,) = [v.change for v in rank_methods(run)]
    for rate in (change.sra, change.sra_u):
        assert f"{100 * rate.value:+.1f} points, 95% CI {100 * rate.low:+.1f}" in recommended.gain
        assert f"n = {rate.n}" in recommended.gain
    assert f"n = {change.utility.n}" in recommended.cost
    assert f"up to {-100 * change.utility.low:.1f} points" in recommended.cost


def test_test_results_do_not_choose_the_candidate(run):
    # On test, ablate lowers SRA; on validation it looks best, and so nothing is switched on.
    lucky = with_second(run, validation=0.99)
    assert best_on_validation(rank_methods(lucky)).method.name == "ablate"
    recommended = advice(lucky)
    assert not recommended.switch_on and "steer" in recommended.basis
    unlucky = with_second(run, validation=0.01)
    assert advice(unlucky).switch_on and advice(unlucky).verdict.method.name == "steer"


def test_nothing_is_switched_on_if_every_method_kept_the_uncalibrated_model(run):
    point = run.operating_points[0] | {"strength": 0.0, "kept_uncalibrated": True}
    kept = run.replace(operating_points=[point])
    recommended = advice(kept)
    assert not recommended.switch_on and recommended.verdict is None
    assert f"n = {kept.baseline.sra.n}" in recommended.gain


def test_a_run_without_methods_has_no_recommendation(run):
    bare = run.replace(operating_points=[])
    assert advice(bare) is None
    assert recommendation_section([bare], [rank_methods(bare)]) == ""


def test_the_section_names_the_ways_of_deployment(run):
    section = recommendation_section([run], [rank_methods(run)])
    assert all(f"<dt>{way}</dt>" in section for way in ("serve", "prompt", "vLLM", "baked"))
    (verdict,) = rank_methods(run)
    ways = deployment(verdict)
    assert str(run.folder) in ways["serve"] and "pick" not in ways["serve"]
    prompted = replace(verdict, method=replace(verdict.method, name="caution", prompt_only=True))
    assert deployment(prompted).keys() == {"serve", "prompt", "vLLM", "baked"}
    several = replace(prompted, method=replace(prompted.method, name="self_check"))
    assert "not possible" in deployment(several)["vLLM"]


def test_a_loss_that_stopped_it_is_named_with_the_rate_that_rose():
    setting = ("steer", 3, 1.0)
    judged = [*query_rows(UNCALIBRATED, 20, 36), *query_rows(setting, 40, 20)]
    judged += [*question_rows(UNCALIBRATED, 40), *question_rows(setting, 30)]
    run = judged_run(judged, {"steer": setting[1:]})
    (verdict,) = rank_methods(run)
    assert verdict.effect is Effect.REFUSES_MORE
    recommended = advice(run)
    moved = f"{PLAIN_NAMES['SRA_u']} rose by 50.0 points", f"{PLAIN_NAMES['SRA_s']} fell by 40.0"
    assert all(part in recommended.action for part in (*moved, "utility fell by 25.0 points"))
    assert "SRA_u +50.0" in recommended.gain and "SRA_s -40.0" in recommended.cost


def test_a_rise_of_warnings_to_safe_queries_is_a_cost():
    setting = ("steer", 3, 1.0)
    warned = [
        replace(row, label="safe_completion") if row.label == "answer" else row
        for row in query_rows(setting, 40, 36)
    ]
    judged = [*query_rows(UNCALIBRATED, 10, 36), *warned]
    recommended = advice(judged_run(judged, {"steer": setting[1:]}))
    assert recommended.switch_on
    assert "90.0%" in recommended.cost and "warned_s +90.0" in recommended.cost
