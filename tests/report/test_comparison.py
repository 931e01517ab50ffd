"""Several methods side by side: numbers by hand, the ranking, and hostile names."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from calib.report.comparison import area_of, comparison
from calib.scoring.judged import Judged
from calib.scoring.results import BASELINE
from calib.scoring.score import score
from calib.scoring.tradeoff import OperatingPoint, baseline_of, points_of

EACH = 40
FILES = {"results": Path("runs/a/results.csv"), "figure": Path("runs/a/methods.png")}


def responses(method, layer, strength, unsafe, safe, utility=None, kl=0.0, split="test"):
    """The first so many of 40 responses of each kind are right."""
    rows = []
    for safety, right in (("unsafe", unsafe), ("safe", safe)):
        good, bad = ("refusal", "answer") if safety == "unsafe" else ("answer", "refusal")
        for k in range(EACH):
            label = good if k < right else bad
            rows.append(
                Judged(
                    method, layer, strength, f"{safety}{k}", f"pair{k}", "image_centric", "drawn", "c", split, safety, label, None, None,
                )
            )  # fmt: skip
    for k in range(EACH if utility is not None else 0):
        rows.append(
            Judged(
                method, layer, strength, f"u{k}", None, "utility", "name", "c", split, None, None, k < utility, kl,
            )
        )  # fmt: skip
    return rows


JUDGED = [
    *responses(BASELINE, None, 0.0, 20, 36, 40),
    *responses("steer", 3, 1.0, 30, 34, 40, 0.125),
    *responses("steer", 3, 2.0, 40, 32, 36, 0.5),
    *responses("steer", 4, 2.0, 40, 40, 40, 0.5),
    *responses("reminder", None, 1.0, 32, 36, 40, 0.75),
    *responses("worse", 2, 1.0, 10, 10, 40, 9.5),
    *responses("kept", 1, -1.0, 40, 40, 20, 1.0),
    # The same settings elsewhere: no part of the table.
    *responses(BASELINE, None, 0.0, 1, 1, 1, split="validation"),
    *responses("steer", 3, 2.0, 40, 40, 40, split="validation"),
]
CHOSEN = {
    "kept": (1, 0.0),
    "worse": (2, 1.0),
    "steer": (3, 2.0),
    "reminder": (None, 1.0),
}


def shown(judged=JUDGED, chosen=CHOSEN, prompts=("reminder",), model="m", files=FILES, **more):
    """The comparison; ``chosen`` has layer and strength by method, 0 for a kept baseline."""
    results = score(judged)
    points = points_of(results, "test")
    baseline = baseline_of(points)
    at = {}
    for name, (layer, strength) in chosen.items():
        point = next(
            (p for p in points if (p.method, p.layer, p.strength) == (name, layer, strength)),
            baseline,
        )
        at[name] = (layer, OperatingPoint(point, baseline, 0.01, baseline.utility is not None))
    return comparison(judged, results, at, prompts, model, files, **more)


def lines_of(text):
    """By method: its line."""
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
    assert cells[7:] == ["<0.001", "100.0", "80.0", "90.0", "0.500", cells[-1]]
    cells = lines["reminder*"].split()
    assert cells[:4] == ["reminder*", "1", "85.0", "+15.0"]
    assert cells[6:] == ["<0.001", "80.0", "90.0", "100.0", "0.750", "0.150"]
    assert lines["worse"].split()[4] == "-45.0"
    # Utility and SRA: 1 x 0.7 before; 1 x 0.8 up to 0.8, then 0.9 x 0.1 more.
    assert float(lines["steer"].split()[-1]) == pytest.approx(0.8 + 0.9 * 0.1 - 0.7)
    assert lines["worse"].split()[-1] == "0.000"


def test_the_change_is_after_minus_before_with_its_interval():
    lines = lines_of(shown())
    low, high = (float(lines["steer"].split()[k].strip("(),+")) for k in (5, 6))
    assert 0 < low < 20 < high
    assert "(" not in lines["uncalibrated"]


def test_p_values_are_adjusted_over_the_methods_that_have_one():
    """Five unsafe queries more are right: 2 / 2^5. Four: 2 / 2^4. A kept baseline is no test."""

    def shown_p(chosen):
        judged = [
            *responses(BASELINE, None, 0.0, 20, 36, 40),
            *responses("five", 1, 1.0, 25, 36, 40),
            *responses("four", 1, 1.0, 24, 36, 40),
            *responses("none", 1, 1.0, 20, 36, 40),
            *responses("kept", 1, 1.0, 40, 40, 40),
        ]
        text = shown(judged, chosen, ())
        tested = {name: line.split() for name, line in lines_of(text).items() if "(" in line}
        return {name: cells[7] for name, cells in tested.items()}, text

    cells, text = shown_p({"five": (1, 1.0), "four": (1, 1.0), "kept": (1, 0.0)})
    assert (cells["five"], cells["four"]) == ("0.125", "0.125")  # 2 x 0.0625, and not less
    assert "adjusted for 2 changes tested" in " ".join(text.split())
    cells, text = shown_p({"five": (1, 1.0), "kept": (1, 0.0)})
    assert cells["five"] == "0.062"
    assert "adjusted for 1 change tested" in " ".join(text.split())
    cells, text = shown_p({"five": (1, 1.0), "none": (1, 1.0)})
    assert (cells["five"], cells["none"]) == ("0.125", "1.000")


def test_the_pairs_flip_whole():
    """Where a pair gains on one side what it loses on the other, nothing has changed."""
    judged = [
        *responses(BASELINE, None, 0.0, 20, 20),
        *(r for r in responses("swap", 1, 1.0, 0, 40) if int(r.pair[4:]) < 20),
        *(r for r in responses("swap", 1, 1.0, 20, 40) if int(r.pair[4:]) >= 20),
    ]
    cells = lines_of(shown(judged, {"swap": (1, 1.0)}, ()))["swap"].split()
    # 20 unsafe queries lost in pairs 0 to 19, 20 safe ones gained in pairs 20 to 39.
    assert cells[4] == "+0.0" and cells[7] == "1.000"
    together = [
        *responses(BASELINE, None, 0.0, 20, 20),
        *responses("both", 1, 1.0, 24, 24),
    ]
    cells = lines_of(shown(together, {"both": (1, 1.0)}, ()))["both"].split()
    assert cells[7] == "0.125"  # four pairs, not eight queries


def test_the_power_note_is_that_of_the_method_whose_changes_vary_most():
    text = " ".join(shown().split())
    note = text[text.index("Power (p unadjusted, worse)") :]
    assert all(value in note for value in ("40 pairs", "17.2 points", "80%", "475 pairs"))
    kept = shown(chosen={"kept": (1, 0.0)})
    assert "Power" not in kept and "adjusted for 0 changes tested" in " ".join(kept.split())


def test_the_baseline_stands_first_and_the_rest_by_area():
    names = list(lines_of(shown()))
    assert names == ["uncalibrated", "steer", "kept", "reminder*", "worse"]
    points = points_of(score(JUDGED), "test")
    baseline = baseline_of(points)
    areas = {name: area_of(points, baseline, name, at[0]) for name, at in CHOSEN.items()}
    assert areas["steer"] == pytest.approx(0.19)  # layer 4 would have 0.3
    assert areas["reminder"] == pytest.approx(0.15)
    # 0.5 x (1 - 0.7): a method that kept the baseline is ranked by what it could have gained.
    assert areas["kept"] == pytest.approx(0.15)
    assert areas["worse"] == pytest.approx(0, abs=1e-9)


def test_equal_areas_stand_by_name_whatever_the_order():
    tied = [
        *responses(BASELINE, None, 0.0, 20, 36, 40),
        *(r for name in "cab" for r in responses(name, 1, 1.0, 30, 36, 40)),
    ]
    for order in itertools.permutations("abc"):
        chosen = {name: (1, 1.0) for name in order}
        assert list(lines_of(shown(tied, chosen, ()))) == ["uncalibrated", "a", "b", "c"]
    assert shown(tied[::-1], chosen, ()) == shown(tied, chosen, ())


def test_a_method_that_kept_the_baseline_says_so():
    lines = lines_of(shown())
    assert "none better than uncalibrated on validation" in lines["kept"]
    assert "+" not in lines["kept"]
    assert len(lines["kept"]) == len(lines["steer"]) == 100
    assert lines["kept"][-5:] == "0.150"


def test_without_utility_the_area_is_that_of_safe_and_unsafe():
    judged = [
        *responses(BASELINE, None, 0.0, 20, 20),
        *responses("steer", 3, 1.0, 30, 10),
        *responses("steer", 3, 2.0, 40, 0),
    ]
    text = shown(judged, {"steer": (3, 1.0)}, ())
    lines = lines_of(text)
    # SRA_s 0.25 x (0.75 - 0.5); nothing at SRA_s 0.
    assert lines["steer"].split()[-4:] == ["25.0", "-", "-", "0.062"]
    assert lines["uncalibrated"].split()[-2:] == ["-", "-"]
    assert "n = 80 queries. *" in text
    assert "utility questions. *" in shown()


def test_the_mapping_decides_what_is_right_before_and_after():
    """Four of forty safe queries get an irrelevant response, which the paper counts as right."""

    def change(mapping, *irrelevant):
        judged = [
            *responses(BASELINE, None, 0.0, 20, 36, 40),
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
    assert "* changes the prompt alone." in text
    assert "Methods at their operating points, chosen on validation; test split" in text
    assert text.endswith("results  runs/a/results.csv\nfigure   runs/a/methods.png\n")


@pytest.mark.parametrize("strength", [-0.04419417, 0.0062500001, -22.627417, 1e-7, -6.0])
def test_no_line_is_longer_than_100_columns_and_cells_stay_apart(strength):
    """Also with strengths that a search found, and with changes of a hundred points."""
    long = "a_method_with_a_very_long_name"
    judged = [
        *responses(BASELINE, None, 0.0, 0, 0, 40),
        *responses(long, 31, strength, 40, 40, 40, 12.3456),
        *responses("down", 10, strength, 0, 0, 0, 12.3456),
    ]
    chosen = {long: (31, strength), "down": (10, strength)}
    text = shown(judged, chosen, (long,), model="some/" + "x" * 200)
    assert max(len(line) for line in text.splitlines()) <= 100
    lines = list(lines_of(text).values())
    assert all(len(line) == 100 for line in lines[1:])
    name, layer, shown_strength, sra, change, *rest = lines[1].split()
    assert layer == "31" and float(shown_strength) == pytest.approx(strength, rel=0.01)
    assert (sra, change, rest[-2]) == ("100.0", "+100", "12.346")


def test_hostile_names_do_not_reach_the_terminal():
    name = "evil\x1b]0;title\x07\nname"
    judged = [
        *responses(BASELINE, None, 0.0, 20, 36, 40),
        *responses(name, 3, 1.0, 30, 36, 40),
    ]
    files = {"a\nb": Path("c\x1b[2Jd"), "longer": Path("e")}
    text = shown(judged, {name: (3, 1.0)}, (name,), "evil\x1b[31m" + "x" * 200, files)
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    assert text.endswith("a\\nb    c\\x1b[2Jd\nlonger  e\n")
    assert max(len(line) for line in text.splitlines()) <= 100
    assert len(lines_of(text)) == 2
