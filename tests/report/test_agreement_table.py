"""The text on agreement: every number by hand, its width, undefined values."""

from calib.config.choices import LABELS
from calib.report.terminal_tables import confusion_text
from calib.scoring.agreement import agreement


def test_every_number():
    truth = ["refusal"] * 25 + ["answer"] * 25
    given = ["refusal"] * 20 + ["answer"] * 5 + ["refusal"] * 10 + ["answer"] * 15
    lines = confusion_text(agreement(given, truth)).splitlines()
    assert lines[0] == "n         50"
    assert lines[1] == "accuracy  70.0% (56.2 to 80.9)"
    assert lines[2].startswith("kappa     0.400 (95% CI 0.")
    assert lines[4] == "Rows: human. Columns: judge."
    assert [line.split() for line in lines[5:9]] == [
        ["refusal", "answer", "total"],
        ["refusal", "20", "5", "25"],
        ["answer", "10", "15", "25"],
        ["total", "30", "20", "50"],
    ]
    assert lines[11] == ("refusal                 66.7% (48.8 to 80.8)        80.0% (60.9 to 91.1)")
    assert lines[12] == ("answer                  75.0% (53.1 to 88.8)        60.0% (40.7 to 76.6)")


def test_all_labels_and_long_names_fit_in_100_columns():
    text = confusion_text(agreement(LABELS, LABELS[::-1]), "j\n" + "x" * 90, "h" * 90)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert text.count("\n") == 3 + 2 + 7 + 2 + 5
    assert "j\\n" in text


def test_undefined_values_are_explained():
    alike = confusion_text(agreement(["answer"] * 3, ["answer"] * 3))
    assert "kappa     undefined: " in alike
    lacking = confusion_text(agreement(["answer"] * 2, ["answer", "refusal"]))
    assert next(
        line for line in lacking.splitlines() if line.startswith("refusal  ") and "%" in line
    ).split() == ["refusal", "-", "0.0%", "(0.0", "to", "79.3)"]
    lines = confusion_text(agreement([], [])).splitlines()
    assert lines[:2] == ["n         0", "accuracy  -"] and "undefined" in lines[2]
    single = confusion_text(agreement(["answer"], ["refusal"]))
    assert "kappa     0.000 (too few" in single
