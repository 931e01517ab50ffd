"""Measure the accuracy of judge=string on our own phrasings and on XSTest's human labels.

    python -m experiments.string_judge.measure FOLDER > experiments/string_judge/results.csv

FOLDER is a checkout of paul-rottger/exaggerated-safety (XSTest, arXiv 2308.01263); nothing is
downloaded.
"""

import csv
import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from calib.judges.string import judge_string
from calib.scoring.agreement import agreement
from calib.util.errors import CalibError

PHRASINGS = Path(__file__).parents[2] / "tests" / "judges" / "phrasings.csv"
HALVES = ("tuned", "held_out")
COUNTED_AS_REFUSED = {
    "refusal": frozenset({"refusal"}),
    "refusal or safe_completion": frozenset({"refusal", "safe_completion"}),
}
"""Our labels that count as XSTest's full or partial refusal; all others count as compliance."""
_COLUMNS = (
    "source", "slice", "refused", "n", "accuracy", "accuracy_low", "accuracy_high",
    "kappa", "kappa_low", "kappa_high", "precision", "recall", "recall_full", "recall_partial",
)  # fmt: skip


class Phrasing(NamedTuple):
    source: str
    label: str
    response: str

    @property
    def half(self) -> str:
        return half(self.response)


class HumanLabel(NamedTuple):
    """A response with the labels of its two annotators: 1 complies, 2 refuses, 3 refuses partly."""

    model: str
    half: str
    """Assigned by prompt, so that all responses to a prompt are in the same half."""
    response: str
    first: str
    second: str
    final: str


def half(text: str) -> str:
    """Assign ``text`` to a half by its SHA-256, so that it is the same on every machine."""
    return HALVES[hashlib.sha256(text.encode()).digest()[-1] % 2]


def phrasings(path: Path = PHRASINGS) -> list[Phrasing]:
    """Read our phrasings with their labels."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Phrasing(row["source"], row["label"], row["response"]) for row in csv.DictReader(file)
        ]


def human_labels(folder: Path) -> list[HumanLabel]:
    """Read XSTest's responses.

    Raises CalibError if ``folder`` has none, and for a label other than 1, 2 and 3.
    """
    paths = sorted((folder / "model_completions").glob("xstest_v2_completions_*.csv"))
    if not paths:
        raise CalibError(
            "not-found",
            f"'{folder}' has no model_completions/xstest_v2_completions_*.csv; give a checkout of "
            "paul-rottger/exaggerated-safety.",
        )
    rows = []
    for path in paths:
        model = path.stem.removeprefix("xstest_v2_completions_")
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                labels = [row[name][:1] for name in ("annotation_1", "annotation_2", "final_label")]
                if not set(labels) <= set("123"):
                    raise CalibError(
                        "invalid-value",
                        f"'{path}', id {row['id']}: labels {labels} are not 1, 2 or 3.",
                    )
                rows.append(HumanLabel(model, half(row["prompt"]), row["completion"], *labels))
    return rows


def measured_phrasings(rows: Sequence[Phrasing]) -> Iterator[list[object]]:
    """Yield the agreement on all four labels, by source and half."""
    for source in dict.fromkeys(row.source for row in rows):
        for part in ("all", *HALVES):
            chosen = [row for row in rows if row.source == source and part in ("all", row.half)]
            given = [judge_string(row.response) for row in chosen]
            yield _line(source, part, "four labels", given, [row.label for row in chosen])


def measured_humans(rows: Sequence[HumanLabel]) -> Iterator[list[object]]:
    """Yield the agreement on refused or complied, by half and by model; the annotators' last."""
    labels = {row.response: judge_string(row.response) for row in rows}
    slices = {"all": rows} | {part: [row for row in rows if row.half == part] for part in HALVES}
    for model in dict.fromkeys(row.model for row in rows):
        slices[model] = [row for row in rows if row.model == model]
        slices[f"{model}, held_out"] = [row for row in slices[model] if row.half == "held_out"]
    for name, counted in COUNTED_AS_REFUSED.items():
        for part, chosen in slices.items():
            given = ["refusal" if labels[r.response] in counted else "answer" for r in chosen]
            recalls = [_recall(given, chosen, final) for final in "23"]
            truth = [_two_way(row.final) for row in chosen]
            yield [*_line("xstest", part, name, given, truth), *recalls]
    annotators = [row.first for row in rows], [row.second for row in rows]
    first, second = ([_two_way(label) for label in column] for column in annotators)
    yield _line("xstest", "annotator 1 against 2", "full or partial", first, second)


def _line(
    source: str, part: str, refused: str, given: Sequence[str], truth: Sequence[str]
) -> list[object]:
    result = agreement(given, truth)
    rates = [*result.accuracy[:3], *result.kappa[:3]]
    if refused != "four labels":
        rates += [result.precision["refusal"].value, result.recall["refusal"].value]
    return [source, part, refused, result.n, *(f"{rate:.3f}" for rate in rates)]


def _recall(given: Sequence[str], rows: Sequence[HumanLabel], final: str) -> str:
    refused = [g == "refusal" for g, row in zip(given, rows, strict=True) if row.final == final]
    return f"{sum(refused) / len(refused):.3f}" if refused else ""


def _two_way(label: str) -> str:
    return "answer" if label == "1" else "refusal"


def main(folder: Path) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for line in [*measured_phrasings(phrasings()), *measured_humans(human_labels(folder))]:
        writer.writerow([*line, *[""] * (len(_COLUMNS) - len(line))])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
