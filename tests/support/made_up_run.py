"""The folder of a finished run without a model: responses are given, the rest is as a sweep's."""

import json
from dataclasses import asdict, replace

import yaml

from calib.config.choose import ChooseConfig
from calib.config.data import MiniData, UtilityConfig
from calib.config.method import Steer
from calib.config.model import ModelConfig
from calib.config.sweep import GenerationConfig
from calib.data.examples_file import EXAMPLES_FILE, write_examples
from calib.data.mini.examples import load
from calib.interventions.intervention import BASELINE, Setting
from calib.judges.judge import Verdict
from calib.judges.rules import RULES
from calib.runs.labels.judging import Judging, judge_rows
from calib.runs.operating_points import (
    OPERATING_POINTS_FILE,
    operating_point_records,
    select_operating_points,
)
from calib.runs.planning import PlannedRow
from calib.runs.row_store import ROWS_FILE, RowStore
from calib.runs.run_files import (
    CONFIG_FILE,
    LABELS_FILE,
    RESULTS_FILE,
    write_labels,
)
from calib.scoring.results import write_results
from calib.scoring.score import in_order, score

PARTS = ["image_centric", "text_centric"]
REFUSES = "I'm sorry, but I can't help with that."
STEERED = Setting("steer", 3, 1.0, BASELINE.intervention)


def asked(limit=8):
    """Queries and questions of the mini world, of validation and test."""
    found = [*load(PARTS, limit), *load(["utility"], 4)]
    return [example for example in found if example.split != "train"]


def write_run(folder, examples=None, said=None, judge=RULES, finish=None):
    """Uncalibrated, everything is answered with a text of its own; steered, with a refusal.

    ``said`` replaces the uncalibrated responses of examples, by id.
    """
    examples = asked() if examples is None else examples
    folder.mkdir(parents=True, exist_ok=True)
    identity = {
        "data": asdict(MiniData(limit=8, parts=PARTS, split_by="pair")),
        "seed": 0,
        "checkpoint": "mini-internvl",
    }
    (folder / "run.json").write_text(
        json.dumps({"identity": identity, "provenance": {}}), encoding="utf-8"
    )
    config = {
        "mapping": "calib", "seed": 0, "model": asdict(ModelConfig("internvl")),
        "method": asdict(Steer(layers=[3])), "methods": {}, "data": identity["data"],
        "utility": asdict(UtilityConfig("mini", 4)), "judge": {"name": "auto"},
        "generation": asdict(GenerationConfig()),
    }  # fmt: skip
    (folder / CONFIG_FILE).write_text(yaml.safe_dump(config), encoding="utf-8")
    rows, records = [], []
    for setting in (BASELINE, STEERED):
        for k, example in enumerate(examples):
            row = PlannedRow(f"{setting.method}{k:020d}", example, setting, example, (), "")
            plain = example.answer or f"Here is how, number {k}."
            text = REFUSES if setting is STEERED and example.safety else plain
            if setting is BASELINE:
                text = (said or {}).get(example.id, text)
            end = (finish or {}).get(example.id, "stop")
            rows.append(row)
            records.append({"row": row.id, "response": text, "kl": 0.0, "finish": end})
    with RowStore.open(folder / ROWS_FILE) as record:
        record.append(records)
        judged = judge_rows(rows, record, Judging(judge, folder))
    write_examples(folder / EXAMPLES_FILE, examples)
    write_labels(folder / LABELS_FILE, [row.id for row in rows], judged, judge.id)
    validated, tested = (
        score([one for one in judged if one.split == split]) for split in ("validation", "test")
    )
    on_validation = [one for one in judged if one.split == "validation"]
    rule = ChooseConfig()
    selected = select_operating_points(on_validation, validated, ["steer"], rule, "calib")
    checkpoint = "mini-internvl"
    write_results(folder / RESULTS_FILE, folder.name, checkpoint, in_order([*validated, *tested]))
    points = operating_point_records(checkpoint, selected, rule, {"steer": "in gap units"}, [])
    (folder / OPERATING_POINTS_FILE).write_text(
        json.dumps(points, indent=2) + "\n", encoding="utf-8"
    )
    return folder


class Costly:
    """A judge whose verdicts cost something: it counts what it is asked."""

    costly = True

    def __init__(self, name="costly", label="answer", breaks_at=None, breaks_with=None):
        self.id, self.label = name, label
        self.asked, self.breaks_at, self.breaks_with = [], breaks_at, breaks_with

    def __call__(self, said, tell=lambda n: None):
        if self.breaks_at is not None and len(self.asked) + len(said) > self.breaks_at:
            raise self.breaks_with
        self.asked += [one.response for one in said]
        tell(len(said))
        return [Verdict(self.label, {"m": one.response}) for one in said]


def with_ids(example, count):
    return [replace(example, id=f"{example.id}/{k}") for k in range(count)]
