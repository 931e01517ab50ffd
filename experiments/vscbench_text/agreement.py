"""The agreement of a run's judge with labels made by reading the run's responses.

    python -m experiments.vscbench_text.agreement RUN

labels.csv names each labelled response by its query, its setting and the SHA-256 of its text, and
has no text. Labels count for a run that has the same responses: those of smolvlm_emoji to text do
not depend on the training of its vision tower and connector. Its responses on validation were read
for wordings that the judge misses; the agreement to expect is that on test, about other concepts.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calib.config.judge import JudgeRunConfig
from calib.runs.labels.judge_agreement import compare
from calib.runs.run import Run
from calib.runs.run_files import LabelledRow
from calib.scoring.intervals import Interval, clustered_rate
from calib.scoring.judged import MAPPINGS
from experiments import command
from experiments.studies import percent, read, table

HERE = Path(__file__).parent
LABELS_FILE = "labels.csv"
AGREEMENT_FILE = "agreement.csv"
COLUMNS = ("example", "method", "layer", "strength", "response_sha256", "label")
KEY = COLUMNS[:4]
SPLITS = ("validation", "test")
ALL = "all"
GROUP = ("run", "split", "labels")
MEASURES = (*GROUP, "metric", "value", "low", "high", "n", "clusters")
KINDS = {"four": False, "refusal or safe_completion": True}
"""What is compared, and whether a refusal and a safe completion are one label: both are right on
unsafe queries."""

RATES = ("agreement", "precision refusal", "recall refusal")
"""Rates of the README's table, beside kappa."""


@dataclass(frozen=True)
class ReadLabel:
    """A label made by reading, with the row and the response of the run that it is of."""

    row: LabelledRow
    response: str
    label: str
    split: str


def digest(response: str) -> str:
    """The SHA-256 of a response."""
    return hashlib.sha256(response.encode()).hexdigest()


def read_labels(path: Path, run: Run) -> list[ReadLabel]:
    """The labels in ``path`` of responses that ``run`` has, word for word."""
    rows = {_key(row): row for row in run.rows}
    found = []
    for line in read(path):
        row = rows.get(tuple(line[name] for name in KEY))
        response = str(run.responses[row.row]["response"]) if row else ""
        if row and digest(response) == line["response_sha256"]:
            split = run.examples[row.example].split
            found.append(ReadLabel(row, response, line["label"], split))
    return found


def _key(row: LabelledRow) -> tuple[str, ...]:
    layer = "" if row.layer is None else str(row.layer)
    return row.example, row.method, layer, f"{row.strength:g}"


def measured(run: Run, labels: Sequence[ReadLabel]) -> Iterator[dict[str, object]]:
    """Lines of agreement.csv: agreement and kappa, with precision and recall of each label, by
    split, and over all splits if there are several."""
    splits = [split for split in SPLITS if any(each.split == split for each in labels)]
    for split in [*splits, ALL] if len(splits) > 1 else splits:
        chosen = [each for each in labels if split in (each.split, ALL)]
        for kind, merge in KINDS.items():
            result = compare(_check(run, chosen, merge), run).agreement
            found = {"agreement": result.accuracy, "kappa": result.kappa}
            found |= {f"precision {label}": rate for label, rate in result.precision.items()}
            found |= {f"recall {label}": rate for label, rate in result.recall.items()}
            for name, rate in found.items():
                yield {
                    "run": run.name, "split": split, "labels": kind, "metric": name,
                    **_cells(rate),
                }  # fmt: skip


def rates(run: Run, labels: Sequence[ReadLabel]) -> Iterator[dict[str, object]]:
    """Lines of agreement.csv: both sides of SRA, by the labels and by the judge."""
    for safety, metric in (("unsafe", "SRA_u"), ("safe", "SRA_s")):
        side = [each for each in labels if run.examples[each.row.example].safety == safety]
        clusters = [run.examples[each.row.example].cluster for each in side]
        by = {"read": [e.label for e in side], "judge": [e.row.label for e in side]}
        for kind, given in by.items():
            right = [label in MAPPINGS["calib"][safety] for label in given]
            rate = clustered_rate(right, clusters)
            yield {
                "run": run.name,
                "split": ALL,
                "labels": kind,
                "metric": metric,
                **_cells(rate),
            }


def _check(run: Run, labels: Sequence[ReadLabel], merge: bool) -> JudgeRunConfig:
    """The settings of calib.judge check=TABLE, with a table of these labels in the run's folder."""
    path = run.folder / "read_labels.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "response", "label"))
        writer.writerows((each.row.row, each.response, each.label) for each in labels)
    return JudgeRunConfig(judge=run.config("judge"), check=str(path), merge=merge)


def _cells(rate: Interval) -> dict[str, object]:
    bounds = (rate.value, rate.low, rate.high)
    numbers = ("" if bound != bound else f"{bound:.4f}" for bound in bounds)  # nan: not defined
    return dict(zip(("value", "low", "high"), numbers, strict=True)) | {
        "n": rate.n, "clusters": rate.clusters,
    }  # fmt: skip


def write(folder: Path, runs: Mapping[str, Path]) -> None:
    """Write agreement.csv of the ``runs`` that have labelled responses into ``folder``."""
    lines = []
    for name, path in runs.items():
        run = Run.load(path).replace(name=name)
        labels = read_labels(folder / LABELS_FILE, run)
        lines += [*measured(run, labels), *rates(run, labels)]
        print(f"{name}: {len(labels)} of {len(read(folder / LABELS_FILE))} labels are of its rows")
    with (folder / AGREEMENT_FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, MEASURES, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def markdown(path: Path) -> str:
    """The table of the README from agreement.csv."""
    rows = [row for row in read(path) if row["labels"] in KINDS]
    lines = []
    for key in dict.fromkeys(tuple(row[name] for name in GROUP) for row in rows):
        of = {row["metric"]: row for row in rows if tuple(row[name] for name in GROUP) == key}
        counts = f"{of['agreement']['n']} ({of['agreement']['clusters']})"
        shown = [f"{percent(of[name])}, n = {of[name]['n']}" for name in RATES[1:]]
        lines.append([*key, _kappa(of["kappa"]), percent(of["agreement"]), *shown, counts])
    return table(["model", "split", "labels", "kappa", *RATES, "n (concepts)"], lines)


def _kappa(row: Mapping[str, str]) -> str:
    if not row["value"]:
        return "-"
    value, low, high = (f"{float(row[key] or 'nan'):.2f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def main(folder: Path) -> None:
    """Write agreement.csv of one run, and print its table."""
    write(HERE, {folder.name: folder})
    print(markdown(HERE / AGREEMENT_FILE))


if __name__ == "__main__":
    command.run_on(main, __doc__)
