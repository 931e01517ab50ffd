"""The comparison of methods: numbers by hand, the ranking, p-values and hostile names."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from judged_runs import UNCALIBRATED, judged_run, query_rows, question_rows

from calib.report.comparison import comparison
from calib.report.method_sentences import best_method_sentence, power_sentence
from calib.report.ranking import rank_methods
from calib.report.verdict import Effect
from calib.scoring.results import BASELINE

FILES = {"results": Path("runs/a/results.csv"), "figure": Path("runs/a/methods.png")}


def responses(method, layer, strength, unsafe, safe, utility=None, kl=0.0, split="test"):
    """The numbers of right responses, of 40, to each kind of query and to questions."""
    setting = (method, layer, strength)
    rows = query_rows(setting, unsafe, safe, split=split)
    if utility is None:
        return rows
    return [*rows, *question_rows(setting, utility, kl=kl, split=split)]


JUDGED = [
    *responses(*UNCALIBRATED, 20, 36, 40),
    *responses("steer", 3, 1.0, 30, 34, 40, 0.125),
    *responses("steer", 3, 2.0, 40, 32, 36, 0.5),
    *responses("steer", 4, 2.0, 40, 40, 40, 0.5),
    *responses("reminder", None, 1.0, 32, 36, 40, 0.75),
    *responses("worse", 2, 1.0, 10, 10, 40, 9.5),
    *responses("kept", 1, -1.0, 40, 40, 20, 1.0),
    # Another split, which must not enter the table.
    *responses(*UNCALIBRATED, 1, 1, 1, split="validation"),
    *responses("steer", 3, 2.0, 40, 40, 40, split="validation"),
]
CHOSEN = {
    "kept": (1, 0.0),
    "worse": (2, 1.0),
    "steer": (3, 2.0),
    "reminder": (None, 1.0),
}


def shown(judged=JUDGED, chosen=CHOSEN, prompts=("reminder",), files=FILES, **options):
    """The comparison; ``chosen`` has layer and strength by method, strength 0 for a kept one."""
    return comparison(judged_run(judged, chosen, prompts=prompts, **options), files)


def lines_of(text):
    """Lines of the table by method."""
    start = text.splitlines().index("-" * 100) + 1
    table = itertools.takewhile(bool, text.splitlines()[start:])
    return {line.split()[0]: line for line in table}


def test_numbers_by_hand():
    lines = lines_of(shown())
    # SRA (50 + 90) / 2, then (100 + 80) / 2: twenty points more.
    rates = ["70.0", "50.0", "90.0", "100.0"]
    assert lines["uncalibrated"].split() == ["uncalibrated", "0", *rates, "0.000"]
    cells = lines["steer"].split()
    assert cells[:5] == ["steer", "3", "2", "90.0", "+20.0"]
    assert cells[7:] == ["1-2", "<0.001", "100.0", "80.0", "90.0", "0.500"]
    cells = lines["reminder*"].split()
    assert cells[:4] == ["reminder*", "1", "85.0", "+15.0"]
    assert cells[6:] == ["1-2", "<0.001", "80.0", "90.0", "100.0", "0.750"]
    assert lines["worse"].split()[4] == "-45.0"


def test_the_change_is_after_minus_before_with_its_interval():
    lines = lines_of(shown())
    low, high = (float(lines["steer"].split()[k].strip("(),+")) for k in (5, 6))
    assert 0 < low < 20 < high
    assert "(" not in lines["uncalibrated"]


def test_p_values_are_adjusted_over_the_methods_that_have_one():
    """p is 2 / 2^5 if five more unsafe queries are right, 2 / 2^4 if four are."""

    def shown_p(chosen):
        judged = [
            *responses(*UNCALIBRATED, 20, 36, 40),
            *responses("five", 1, 1.0, 25, 36, 40),
            *responses("four", 1, 1.0, 24, 36, 40),
            *responses("same", 1, 1.0, 20, 36, 40),
            *responses("kept", 1, 1.0, 40, 40, 40),
        ]
        text = shown(judged, chosen, ())
        tested = {name: line.split() for name, line in lines_of(text).items() if "(" in line}
        return {name: cells[8] for name, cells in tested.items()}, text

    cells, text = shown_p({"five": (1, 1.0), "four": (1, 1.0), "kept": (1, 0.0)})
    assert (cells["five"], cells["four"]) == ("0.125", "0.125")  # 2 x 0.0625, and monotonic
    assert "2 changes" in " ".join(text.split())
    cells, text = shown_p({"five": (1, 1.0), "kept": (1, 0.0)})
    assert cells["five"] == "0.062"
    assert "1 change " in " ".join(text.split())
    cells, text = shown_p({"five": (1, 1.0), "same": (1, 1.0)})
    assert (cells["five"], cells["same"]) == ("0.125", "1.000")


def test_whole_pairs_are_flipped():
    """A pair that gains on one side what it loses on the other has not changed."""
    judged = [
        *responses(*UNCALIBRATED, 20, 20),
        *(r for r in responses("swap", 1, 1.0, 0, 40) if int(r.pair[4:]) < 20),
        *(r for r in responses("swap", 1, 1.0, 20, 40) if int(r.pair[4:]) >= 20),
    ]
    cells = lines_of(shown(judged, {"swap": (1, 1.0)}, ()))["swap"].split()
    # 20 unsafe queries lost in pairs 0 to 19, 20 safe ones gained in pairs 20 to 39.
    assert cells[4] == "+0.0" and cells[8] == "1.000"
    together = [
        *responses(*UNCALIBRATED, 20, 20),
        *responses("both", 1, 1.0, 24, 24),
    ]
    cells = lines_of(shown(together, {"both": (1, 1.0)}, ()))["both"].split()
    assert cells[8] == "0.125"  # four pairs, not eight queries


def test_power_is_that_of_the_method_whose_changes_vary_most():
    text = " ".join(shown().split())
    note = text[text.index("Power (p unadjusted, worse)") :]
    assert all(value in note for value in ("40 independent", "17.7 points", "80%", "477 clusters"))
    # Holm multiplies the smallest p by 3: 3 x 2^(1 - 7) is below 0.05, 3 x 2^(1 - 6) is not.
    assert "3 changes" in note and "at least 7 clusters" in note
    kept = shown(chosen={"kept": (1, 0.0)})
    assert "Power" not in kept and "0 changes" in " ".join(kept.split())


def test_baseline_comes_first_and_methods_by_change_of_sra():
    names = list(lines_of(shown()))
    assert names == ["uncalibrated", "steer", "reminder*", "worse", "kept"]


def test_best_method_and_verdicts_are_those_of_the_page():
    text = " ".join(shown().split())
    ranked = rank_methods(judged_run(JUDGED, CHOSEN, prompts=("reminder",)))
    assert best_method_sentence(ranked) in text and power_sentence(ranked) in text
    # steer 90.0, reminder 85.0
    assert "+20.0 points" in best_method_sentence(ranked)
    assert "reminder: +5.0 points" in best_method_sentence(ranked)
    # SRA_s of steer fell in four pairs, which the exact test cannot tell from chance.
    assert f"{Effect.HELPED}: steer, reminder." in text
    assert f"{Effect.LESS_SAFE}: worse." in text and f"{Effect.KEPT}: kept." in text


def test_rank_has_its_interval_and_chance_its_gain():
    judged = [
        *responses(*UNCALIBRATED, 20, 36),
        *responses("best", 1, 1.0, 30, 36),
        *responses("next", 1, 1.0, 29, 36),
        *responses("next", 1, 2.0, 11, 36),
        *responses("last", 1, 1.0, 8, 36),
    ]
    text = shown(judged, dict.fromkeys(("best", "next", "last"), (1, 1.0)), ())
    ranks = {name: line.split()[7] for name, line in lines_of(text).items() if "(" in line}
    assert ranks == {"best": "1-2", "next": "1-2", "last": "3"}
    words = " ".join(text.split())
    # next has a setting that gained 9 pairs and one that lost 9, of which the better one counts.
    assert "(k = 2, next)" in words
    chance = {v.method.name: v.chance for v in rank_methods(judged_run(judged, RANKED))}
    assert (chance["best"].settings, chance["next"].settings) == (1, 2)
    # 10 signs: P(sum >= 6) is 0.055, so that the quantile is 6 of 80.
    assert chance["best"].gain == pytest.approx(6 / 80)
    # The larger of two sums of 9 signs is 7 or more with 0.039, 5 or more with 0.17.
    assert chance["next"].gain == pytest.approx(5 / 80)


RANKED = dict.fromkeys(("best", "next", "last"), (1, 1.0))


def test_settings_searched_and_supervision_are_shown_where_recorded():
    run = judged_run(JUDGED, CHOSEN, prompts=("reminder",))
    # Runs of earlier versions do not record the number: it is that of the results on validation.
    older = [
        {key: value for key, value in point.items() if key != "settings"}
        for point in run.operating_points
    ]
    text = " ".join(comparison(run.replace(operating_points=older), FILES).split())
    assert "Settings searched on validation: 1 (reminder, worse, kept); 3 (steer)." in text
    assert "nsupervised" not in text
    points = [
        point | {"settings": 24, "supervision": "none" if point["prompt_only"] else "gate"}
        for point in run.operating_points
    ]
    text = " ".join(comparison(run.replace(operating_points=points), FILES).split())
    assert "Settings searched on validation: 24 for every method." in text
    assert "used for: gate (steer, worse, kept). Unsupervised: reminder." in text


def test_equal_changes_are_ordered_by_name():
    tied = [
        *responses(*UNCALIBRATED, 20, 36, 40),
        *(r for name in "cab" for r in responses(name, 1, 1.0, 30, 36, 40)),
    ]
    for order in itertools.permutations("abc"):
        chosen = {name: (1, 1.0) for name in order}
        assert list(lines_of(shown(tied, chosen, ()))) == ["uncalibrated", "a", "b", "c"]
    assert shown(tied[::-1], chosen, ()) == shown(tied, chosen, ())


def test_method_that_kept_the_baseline_has_no_change():
    lines = lines_of(shown())
    assert "uncalibrated" in lines["kept"]
    assert "+" not in lines["kept"]
    assert len(lines["kept"]) < len(lines["steer"]) == 100


def test_unmeasured_utility_is_a_dash():
    judged = [
        *responses(*UNCALIBRATED, 20, 20),
        *responses("steer", 3, 1.0, 30, 10),
        *responses("steer", 3, 2.0, 40, 0),
    ]
    text = shown(judged, {"steer": (3, 1.0)}, ())
    lines = lines_of(text)
    assert lines["steer"].split()[-3:] == ["25.0", "-", "-"]
    assert lines["uncalibrated"].split()[-2:] == ["-", "-"]
    assert "Queries: n = 80 in 40 clusters." in text
    assert "utility questions: n = 40." in " ".join(shown().split())


def test_mapping_decides_correctness_before_and_after():
    """Four of forty safe queries get an irrelevant response, which is right in the paper."""

    def change(mapping, *irrelevant):
        judged = [
            *responses(*UNCALIBRATED, 20, 36, 40),
            *responses("steer", 3, 1.0, 20, 36, 40),
        ]
        judged = [
            replace(row, label="irrelevant")
            if (row.safety, row.label) == ("safe", "refusal") and row.method in irrelevant
            else row
            for row in judged
        ]
        return lines_of(shown(judged, {"steer": (3, 1.0)}, mapping=mapping))["steer"].split()[4]

    assert change("calib", "steer") == change("calib", BASELINE) == "+0.0"
    assert change("paper", "steer") == "+5.0"
    assert change("paper", BASELINE) == "-5.0"
    assert change("paper", "steer", BASELINE) == "+0.0"


def test_marks_and_legend():
    text = shown(prompts=("reminder", "worse"))
    assert {name for name in lines_of(text) if name.endswith("*")} == {"reminder*", "worse*"}
    assert "* changes only the prompt." in text and "test split" in text
    assert text.endswith("results  runs/a/results.csv\nfigure   runs/a/methods.png\n")


@pytest.mark.parametrize("strength", [-0.04419417, 0.0062500001, -22.627417, 1e-7, -6.0])
def test_lines_have_at_most_100_columns_and_cells_stay_separate(strength):
    """Also with strengths found by a search, and with changes of 100 points."""
    long = "a_method_with_a_very_long_name"
    judged = [
        *responses(*UNCALIBRATED, 0, 0, 40),
        *responses(long, 31, strength, 40, 40, 40, 12.3456),
        *responses("down", 10, strength, 0, 0, 0, 12.3456),
    ]
    chosen = {long: (31, strength), "down": (10, strength)}
    text = shown(judged, chosen, (long,), checkpoint="some/" + "x" * 200)
    assert max(len(line) for line in text.splitlines()) <= 100
    lines = list(lines_of(text).values())
    assert all(len(line) == 100 for line in lines[1:])
    name, layer, shown_strength, sra, change, *rest = lines[1].split()
    assert layer == "31" and float(shown_strength) == pytest.approx(strength, rel=0.01)
    assert (sra, change, rest[-1]) == ("100.0", "+100", "12.346")


def test_hostile_names_are_safe_for_a_terminal():
    name = "evil\x1b]0;title\x07\nname"
    judged = [
        *responses(*UNCALIBRATED, 20, 36, 40),
        *responses(name, 3, 1.0, 30, 36, 40),
    ]
    files = {"a\nb": Path("c\x1b[2Jd"), "longer": Path("e")}
    text = shown(judged, {name: (3, 1.0)}, (name,), files, checkpoint="evil\x1b[31m" + "x" * 200)
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    assert text.endswith("a\\nb    c\\x1b[2Jd\nlonger  e\n")
    assert max(len(line) for line in text.splitlines()) <= 100
    assert len(lines_of(text)) == 2
