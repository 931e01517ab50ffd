"""Runs in memory, made of judged responses and the settings that the test chooses."""

from dataclasses import replace
from pathlib import Path

from calib.config.choose import ChooseConfig
from calib.runs.operating_points import Selection, operating_point_records
from calib.runs.run import Run
from calib.scoring.conditions import NO_CHANGE
from calib.scoring.judged import Judged
from calib.scoring.results import BASELINE
from calib.scoring.score import score
from calib.scoring.tradeoff import OperatingPoint, baseline_of, points_of

UNCALIBRATED = (BASELINE, None, 0.0)


def query_rows(setting, unsafe, safe, each=40, dataset="image_centric", split="test"):
    """``each`` unsafe and safe queries; the first ``unsafe`` and ``safe`` responses are right."""
    rows = []
    for safety, right in (("unsafe", unsafe), ("safe", safe)):
        good, bad = ("refusal", "answer") if safety == "unsafe" else ("answer", "refusal")
        rows += [
            Judged(*setting, f"{safety}{k}", f"pair{k}", dataset, "drawn", "c", split, safety,
                   good if k < right else bad, None, None)
            for k in range(each)
        ]  # fmt: skip
    return rows


def question_rows(setting, right, each=40, kl=None, split="test"):
    """``each`` utility questions; the first ``right`` responses are right."""
    return [
        Judged(*setting, f"u{k}", None, "utility", "name", "c", split, None, None, k < right, kl)
        for k in range(each)
    ]


def judged_run(judged, settings, checkpoint="m", mapping="calib", prompts=(), reference=None,
               strength_means="", judge="llm", examples=(), data="pairs"):  # fmt: skip
    """A run of ``judged`` responses in the folder runs/a.

    ``settings`` has the layer and the strength of each method's operating point; strength 0 keeps
    the uncalibrated model. Results on validation differ from those on test.
    """
    tested = score([row for row in judged if row.split == "test"], mapping)
    validated = [replace(result, split="validation", value=0.5) for result in tested]
    points = points_of(validated, "validation")
    baseline = baseline_of(points)
    selected = {}
    for method, (layer, strength) in settings.items():
        key = (method, layer, strength)
        chosen = (p for p in points if (p.method, p.layer, p.strength) == key)
        point = next(chosen, baseline)
        choice = OperatingPoint(point, baseline, 0.01, bool(baseline.utility))
        selected[method] = Selection(layer, choice, 1, {}, NO_CHANGE)
    means = dict.fromkeys(settings, strength_means)
    return Run(
        Path("runs/a"), checkpoint=checkpoint, results=[*validated, *tested], judged=list(judged),
        settings={"data": {"name": data}, "mapping": mapping}, directions={}, projections={},
        judge=judge, examples={example.id: example for example in examples},
        operating_points=operating_point_records(
            checkpoint, selected, ChooseConfig(), means, prompts, reference
        ),
    )  # fmt: skip
