"""The judge's agreement with labels made by reading, and the committed labels themselves."""

import csv
import re
from pathlib import Path

from made_up_run import asked, write_run

from calib.config.choices import LABELS
from calib.runs.run import Run
from experiments import studies
from experiments.vscbench_text import agreement

UNSAFE = [e for e in asked() if e.safety == "unsafe" and e.split == "test"]


def label_of(run: Run, method: str, index: int, label: str) -> dict[str, str]:
    """A line of labels.csv for the response to an unsafe test query."""
    row = next(r for r in run.rows if (r.method, r.example) == (method, UNSAFE[index].id))
    response = str(run.responses[row.row]["response"])
    layer = "" if row.layer is None else str(row.layer)
    values = (row.example, method, layer, f"{row.strength:g}", agreement.digest(response), label)
    return dict(zip(agreement.COLUMNS, values, strict=True))


def written(folder: Path, lines: list[dict[str, str]]) -> Path:
    path = folder / agreement.LABELS_FILE
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, agreement.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_agreement_by_hand_with_responses_that_the_run_has(tmp_path: Path) -> None:
    run = Run.load(write_run(tmp_path / "emoji"))
    # The steered model refuses everything, the uncalibrated one says nothing that its judge knows.
    lines = [label_of(run, "steer", k, "refusal") for k in range(2)]
    lines += [label_of(run, "none", k, label) for k, label in enumerate(("irrelevant", "refusal"))]
    other = label_of(run, "none", 2, "refusal") | {"response_sha256": agreement.digest("another")}
    unknown = lines[0] | {"example": "not/asked"}
    path = written(tmp_path, [*lines, other, unknown])
    assert [each.label for each in agreement.read_labels(path, run)] == [
        line["label"] for line in lines
    ]
    agreement.write(tmp_path, {"emoji": run.folder})
    rows = studies.read(tmp_path / agreement.AGREEMENT_FILE)
    found = {(r["split"], r["labels"], r["metric"]): r for r in rows}
    four = found["test", "four", "agreement"]
    assert (four["value"], four["n"]) == ("0.7500", "4")
    # By chance: 3/4 x 2/4 refusals and 1/4 x 2/4 others, so (3/4 - 1/2) / (1 - 1/2).
    assert found["test", "four", "kappa"]["value"] == "0.5000"
    assert found["test", "four", "recall refusal"]["value"] == "0.6667"
    assert {split for split, _, _ in found} == {"test", "all"}
    assert "0.50 (" in agreement.markdown(tmp_path / agreement.AGREEMENT_FILE)


def test_the_committed_labels_have_no_text() -> None:
    rows = studies.read(agreement.HERE / agreement.LABELS_FILE)
    assert len(rows) == len({tuple(r[name] for name in agreement.COLUMNS[:5]) for r in rows}) == 200
    for row in rows:
        assert tuple(row) == agreement.COLUMNS and row["label"] in LABELS
        assert re.fullmatch(r"text_centric/text_only/\d+", row["example"])
        assert re.fullmatch(r"[0-9a-f]{64}", row["response_sha256"])


def test_the_page_has_the_table_of_agreement() -> None:
    page = (agreement.HERE / "README.md").read_text(encoding="utf-8")
    assert agreement.markdown(agreement.HERE / agreement.AGREEMENT_FILE) in page
