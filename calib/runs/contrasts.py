"""Which examples a direction is fitted to: the two sides of a contrast.

    safety    unsafe against safe examples, paired: what the model knows about the query
    refusal   refused against answered ones, as the uncalibrated model behaves: what it does

The two differ where a model is miscalibrated, and which one steers better is a finding.
"""

from collections.abc import Sequence
from typing import Any

from tqdm.auto import tqdm

from calib.data.example import Example, Split, pairs
from calib.directions.direction import Direction
from calib.directions.fit import Contrast, checked_layers, fit_direction, pair_set_of
from calib.engine.generate import Engine
from calib.errors import CalibError
from calib.methods.setting import BASELINE
from calib.runs.answering import answer, plan_rows
from calib.runs.judging import judge_rows
from calib.runs.record import Rows
from calib.scoring.labels import is_safe_response
from calib.vlm.prompts import Positions

FITTED_PARTS = ("image_centric", "text_centric")


def fit_contrast(
    engine: Engine,
    examples: Sequence[Example],
    record: Rows,
    judge: str,
    *,
    contrast: str,
    estimator: str,
    positions: Positions,
    layers: Any,
    batch_rows: int,
) -> Direction:
    """A direction fitted to the train pairs, its AUROC measured on the validation pairs.

    ``layers`` is "all", a number or a list. Raises CalibError when there are no train pairs, and
    what fit_direction raises.
    """
    chosen = checked_layers(engine.vlm, layers)
    sides: list[Contrast] = []
    for split in ("train", "validation"):
        twins = paired_examples(examples, split)
        if split == "train" and not twins:
            raise CalibError(
                "there are no safe/unsafe pairs in the train split, so there is nothing to fit a "
                "direction to. Raise data.limit, choose more data.parts, or give a direction with "
                "method.direction=FILE."
            )
        if contrast == "refusal":
            with row_bar(f"{split} rows", len(twins)) as bar:
                sides.append(refusal_contrast(engine, twins, record, judge, bar))
        else:
            sides.append(safety_contrast(twins))
    with row_bar("reading", sum(len(side) for contrast in sides for side in contrast)) as bar:
        return fit_direction(
            engine.vlm,
            *sides,
            contrast=contrast,
            estimator=estimator,
            positions=positions,
            layers=chosen,
            pair_set=pair_set_of(paired_examples(examples, "train")),
            batch_rows=batch_rows,
            progress=bar,
        )


def row_bar(name: str, total: int) -> Any:
    """A progress bar over rows; quiet when not a terminal."""
    return tqdm(total=total, desc=name, unit="row", disable=None, leave=False)


def paired_examples(examples: Sequence[Example], split: Split) -> list[Example]:
    """Safe and unsafe examples of one split that have a twin; dual-use ones only if alone."""
    at_split = [example for example in examples if example.split == split]
    fitted = [e for e in at_split if e.dataset in FITTED_PARTS] or at_split
    return [twin for pair in pairs(fitted) for twin in (pair.safe, pair.unsafe)]


def safety_contrast(examples: Sequence[Example]) -> Contrast:
    """Unsafe examples against safe ones."""
    return (
        [example for example in examples if example.safety == "unsafe"],
        [example for example in examples if example.safety == "safe"],
    )


def refusal_contrast(
    engine: Engine,
    examples: Sequence[Example],
    record: Rows,
    judge: str,
    progress: Any = None,
) -> Contrast:
    """Examples the uncalibrated model refuses (or warns about) against those it answers.

    Their responses join the record like all others.
    """
    # Responses are never cut here: what was answered must be known to its end.
    rows = plan_rows(engine, examples, [BASELINE])
    answer(engine, rows, record, progress=progress)
    refused, answered = [], []
    for row, judged in zip(rows, judge_rows(rows, record, judge), strict=True):
        if judged.label is not None and is_safe_response(judged.label):
            refused.append(row.example)
        elif judged.label == "answer":
            answered.append(row.example)
    return refused, answered
