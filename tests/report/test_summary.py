"""The summary of one method: rates and differences by hand, the prompt-only reference, files."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from judged_runs import UNCALIBRATED, judged_run, query_rows, question_rows

from calib.report.ranking import rank_methods
from calib.report.sentences import KEPT as KEPT_HEADLINE
from calib.report.sentences import PRICE, explanation, headline
from calib.report.summary import UNCALIBRATED_ONLY, summary
from calib.scoring.judged import Judged

STEERED = ("steer", 3, 1.5)
PROMPTED = ("caution", None, 1.0)
CHOSEN = {"steer": (3, 1.5)}
KEPT = {"steer": (3, 0.0)}
FILES = {"results": Path("runs/a/results.csv"), "figure": Path("runs/a/trade_off.png")}


def responses(setting, unsafe, safe, utility):
    """The numbers of right responses, of 40, to each kind of query and to questions."""
    parts = ("image_centric", "text_centric")
    queries = [row for part in parts for row in query_rows(setting, unsafe, safe, dataset=part)]
    return [*queries, *question_rows(setting, utility)]


JUDGED = [*responses(UNCALIBRATED, 20, 36, 38), *responses(STEERED, 36, 32, 38)]
WITH_PROMPT = [*JUDGED, *responses(PROMPTED, 24, 36, 30)]


def shown(judged=JUDGED, settings=CHOSEN, files=FILES, reference=False, **options):
    if reference:
        settings = {**settings, "caution": PROMPTED[1:]}
        options |= {"prompts": ["caution"], "reference": "caution"}
    return summary(judged_run(judged, settings, **options), files)


def cells(text, start):
    (line,) = [line for line in text.splitlines() if line.strip().startswith(start)]
    return line[36:].split()


def words(text):
    return " ".join(text.split())


def test_the_shares_of_responses_that_were_cut_are_shown_where_any_was() -> None:
    assert "cut at max_new_tokens" not in shown()
    steered = [row for row in JUDGED if row.method == "steer"]
    cut = [replace(row, truncated=True) for row in steered if row.dataset == "image_centric"]
    rest = [row for row in JUDGED if row not in steered or row.dataset != "image_centric"]
    settings = {"data": {"name": "pairs"}, "mapping": "calib"}
    settings["generation"] = {"max_new_tokens": 32}
    run = judged_run([*rest, *cut], CHOSEN).replace(settings=settings)
    text = summary(run, FILES)
    assert cells(text, "cut at max_new_tokens")[:3] == ["0.0%", "50.0%", "+50.0"]
    (verdict,) = rank_methods(run)
    assert "0.0% before and 50.0% after" in explanation(verdict.method.choice, verdict.change, 0.01)


def test_rates_and_differences_by_hand() -> None:
    text = shown()
    # Unsafe 20/40 to 36/40, safe 36/40 to 32/40, so SRA 70% to 85%.
    assert cells(text, "SRA ")[:3] == ["70.0%", "85.0%", "+15.0"]
    assert cells(text, "SRA ")[-2:] == ["160", "(80)"]  # pairs count once
    assert cells(text, "SRA_u")[:3] == ["50.0%", "90.0%", "+40.0"]
    assert cells(text, "SRA_s")[:3] == ["90.0%", "80.0%", "-10.0"]
    assert cells(text, "Utility") == ["95.0%", "95.0%", "+0.0", "(-8.8", "to", "+8.8)", "40"]
    assert text.count("image-centric") == 2 and text.count("text-centric") == 2


def test_both_sides_of_sra_weigh_the_same_whatever_their_number() -> None:
    few = [r for r in JUDGED if r.safety != "safe" or int(r.example_id.removeprefix("safe")) < 10]
    # Unsafe +40 points on 80 queries, safe 0 on 20 (the first ten are right under both).
    assert cells(shown(few), "SRA ")[:3] == ["75.0%", "95.0%", "+20.0"]


def test_table_is_narrow_and_names_model_setting_and_files() -> None:
    text = shown(checkpoint="some/checkpoint", strength_means="in gap units")
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "Model       some/checkpoint" in text
    assert "Setting     steer (layer 3, strength 1.5)" in text
    assert "Strength    in gap units" in text
    assert text.endswith("results  runs/a/results.csv\nfigure   runs/a/trade_off.png\n")


def test_verdict_follows_the_intervals() -> None:
    text = words(shown())
    assert "steer (layer 3, strength 1.5) raised SRA by 15.0 points (95% CI" in text
    assert "(0.0 points, 95% CI -8.8 to 8.8)." in text


def test_verdict_begins_with_the_headline_and_knowledge_has_a_line() -> None:
    (verdict,) = rank_methods(judged_run(JUDGED, CHOSEN))
    answer = headline(verdict.method.choice, verdict.change, verdict.p)
    assert answer.startswith(f"{PRICE}: SRA +15.0, SRA_s -10.0 points")
    assert f"\n{answer}.\nsteer (layer 3" in shown()
    knowledge = [
        replace(row, dataset="knowledge", correct=row.method == UNCALIBRATED[0])
        for row in JUDGED
        if row.dataset == "utility"
    ]
    text = shown([*JUDGED, *knowledge])
    assert cells(text, "Knowledge")[:3] == ["100.0%", "0.0%", "-100.0"]
    assert f"\n{answer}, and knowledge fell by 100.0 points.\n" in text
    assert f"\n{KEPT_HEADLINE}.\n" in shown(settings=KEPT)


def test_order_of_the_rows_does_not_matter() -> None:
    assert shown(JUDGED[::-1]) == shown(JUDGED)


def test_kept_baseline_has_no_differences() -> None:
    text = shown(settings=KEPT)
    assert cells(text, "SRA ") == ["70.0%", "-", "-", "160", "(80)"]
    assert "The uncalibrated model, chosen on validation" in text


def test_run_without_methods_shows_the_uncalibrated_model() -> None:
    text = shown(settings={})
    assert cells(text, "SRA ") == ["70.0%", "160", "(80)"]
    assert cells(text, "Utility") == ["95.0%", "40"]
    assert "\nSetting     The uncalibrated model\n" in text
    assert UNCALIBRATED_ONLY in words(text)
    for word in ("improved", "calibrated ", "difference", "chosen on", "kept"):
        assert not re.search(rf"\b{word}", text), word


def test_unmeasured_utility_and_missing_labels_are_noted() -> None:
    rows = [row for row in JUDGED if row.dataset != "utility"]
    rows.append(
        Judged(*STEERED, "new", None, "image_centric", "drawn", "c", "test", "safe", None, None,
               None)
    )  # fmt: skip
    text = shown(rows)
    assert cells(text, "Utility") == ["not", "measured", "0"]
    assert "1 response " in text


def test_difference_without_an_interval_is_marked() -> None:
    one_pair = [row for row in JUDGED if row.example_id in ("unsafe0", "safe0", "u0")]
    text = shown(one_pair)
    assert cells(text, "Utility") == ["100.0%", "100.0%", "+0.0", "(interval", "n/a)", "1"]
    assert "nan" not in text
    assert max(len(line) for line in text.splitlines()) <= 100


def prompt_words(text):
    return words(text.partition("Prompt only")[2])


def test_prompt_only_reference_is_compared_with_the_operating_point() -> None:
    text = shown(WITH_PROMPT, reference=True)
    # Unsafe 24/40, safe 36/40, utility 30/40; steered 36/40, 32/40, 38/40.
    comparison = prompt_words(text)
    assert comparison.startswith(
        "(caution): SRA 75.0%, utility 75.0%. steer (layer 3, strength 1.5)"
    )
    assert "beats it in SRA by 10.0 points (95% CI " in comparison
    assert "beats it in utility by 20.0 points (95% CI " in comparison
    assert ", n = 160 in 80 clusters)" in comparison and ", n = 40)." in comparison
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "Prompt only" not in shown(WITH_PROMPT)


def test_worse_setting_falls_short_of_the_prompt() -> None:
    strong = [*JUDGED, *responses(PROMPTED, 40, 40, 38)]
    comparison = prompt_words(shown(strong, reference=True))
    assert "falls short of it in SRA by 15.0 points (95% CI " in comparison
    assert "in utility (0.0 points, 95% CI -8.8 to 8.8, p 1.000, n = 40)." in comparison


def test_kept_baseline_is_compared_with_the_prompt_too() -> None:
    comparison = prompt_words(shown(WITH_PROMPT, KEPT, reference=True))
    assert "The uncalibrated model falls short of it in SRA by 5.0 points" in comparison


def test_prompt_is_compared_on_the_only_side() -> None:
    rows = [row for row in WITH_PROMPT if row.safety == "unsafe"]
    comparison = prompt_words(shown(rows, reference=True))
    assert comparison.startswith("(caution): SRA_u 60.0%. steer")
    assert "beats it in SRA_u by 30.0" in comparison


def test_report_is_the_last_line() -> None:
    text = shown(files={"report": Path("runs/a/report\x1b[2J.html"), **FILES})
    assert text.endswith(
        "\n\nresults  runs/a/results.csv\nfigure   runs/a/trade_off.png\n"
        "\nOpen runs/a/report\\x1b[2J.html\n"
    )


def test_wide_file_names_keep_the_paths_aligned() -> None:
    text = shown(files={"\u7403": Path("a"), "four": Path("b")})
    assert text.endswith("\n\u7403    a\nfour  b\n")


def test_hostile_names_are_safe_for_a_terminal() -> None:
    hostile = "evil\x1b]0;title\x07" + "x" * 200
    text = shown(checkpoint=hostile, strength_means=hostile, files={"a\nb": Path("c\x1b[2Jd")})
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    assert "a\\nb  c\\x1b[2Jd" in text
    assert max(len(line) for line in text.splitlines()) <= 100


@pytest.mark.parametrize(("side", "other"), [("unsafe", "safe"), ("safe", "unsafe")])
def test_benchmark_with_one_side_has_its_rate_and_no_mean(side, other) -> None:
    rows = [row for row in JUDGED if row.safety != other]
    text = shown(rows)
    rate, missing = ("SRA_u", "SRA_s") if side == "unsafe" else ("SRA_s", "SRA_u")
    assert f"\n{rate}  " in text and f"\n{missing}  " not in text
    assert "\nSRA  " not in text and "nan" not in text
    verb = "raised" if side == "unsafe" else "lowered"
    assert f"{verb} {rate}" in words(text)
    assert f"improved {rate} on validation" in words(shown(rows, KEPT))


def test_dual_use_counts_originals_and_only_without_paired_queries() -> None:
    dual_use = [
        replace(row, dataset="dual_use", variant=variant, example_id=f"{variant}/{row.example_id}")
        for row in JUDGED
        if row.dataset == "image_centric"
        for variant in ("original", "noise")
    ]
    text = shown([*dual_use, *JUDGED])
    assert "dual-use" not in text and cells(text, "SRA ")[-2] == "160"
    text = shown(dual_use)
    unsafe, safe = (line[38:].split() for line in text.splitlines() if "dual-use" in line)
    assert unsafe[:3] == ["50.0%", "90.0%", "+40.0"] and safe[-1] == "40"
    assert cells(text, "SRA ")[-2:] == ["80", "(40)"]


def test_safe_queries_answered_with_a_warning_are_right_and_have_a_line_of_their_own() -> None:
    rows = [
        replace(row, label="safe_completion")
        if row.safety == "safe" and row.key.method == "steer" and int(row.example_id[4:]) < 8
        else row for row in JUDGED
    ]  # fmt: skip
    text = shown(rows)
    assert "mapping=calib" in text
    assert cells(text, "SRA_s")[:2] == ["90.0%", "80.0%"]
    assert cells(text, "answered with a warning")[:3] == ["0.0%", "20.0%", "+20.0"]
    paper = shown(rows, mapping="paper")
    assert "mapping=paper" in paper
    assert cells(paper, "SRA_s")[:2] == ["90.0%", "60.0%"]


def test_papers_mapping_counts_an_empty_response_as_a_refusal() -> None:
    rows = [
        replace(row, label="irrelevant", empty=True)
        if row.safety == "unsafe" and row.label == "answer" else row for row in JUDGED
    ]  # fmt: skip
    assert cells(shown(rows), "SRA_u")[:2] == ["50.0%", "90.0%"]
    assert cells(shown(rows, mapping="paper"), "SRA_u")[:2] == ["100.0%", "100.0%"]


def test_power_is_stated_for_a_chosen_setting() -> None:
    assert "80 independent clusters" in words(shown())
    assert "clusters:" not in shown(settings=KEPT)
