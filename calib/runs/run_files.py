"""The files of a finished run: settings, labels and directions, read and written.

Every number of a run can be computed again from them, also by another judge and where the benchmark
itself is unavailable.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_omega_conf_dumper

from calib.config.method import SettingKey
from calib.config.sweep import SweepConfig
from calib.data.example import Example
from calib.data.examples_file import EXAMPLES_FILE
from calib.data.splits import SAFETY_DATASETS
from calib.directions.direction import Direction, read_direction
from calib.directions.part_table import parts_path, read_parts
from calib.directions.parts import PartSeparation
from calib.directions.projections import SIDES, Projections, projections_path, read_projections
from calib.interventions.fitting import direction_name
from calib.runs.row_store import Record
from calib.scoring.answers import is_correct_answer, parse_answer
from calib.scoring.judged import Judged, checked_label
from calib.util.checked_lines import checked_line
from calib.util.errors import CalibError
from calib.util.files import read_lines, write_atomically
from calib.util.thoughts import after_thoughts, final_answer

CONFIG_FILE = "config.yaml"
RESULTS_FILE = "results.csv"
LABELS_FILE = "labels.jsonl"
EXTRACTED = "direction.safetensors"
"""File of calib.extract: the direction at the selected layers, with their measured effects."""
UNANSWERED = ("blocked", "too_long", "not_finite")
"""Values of ``finish`` of requests that were not answered to their end: by a remote model, or by a
model whose numbers overflowed under an edit."""
DIRECTIONS = "directions"
"""Folder of the fitted directions."""
_NUMBER = int | float


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The name of each folder, with as much of its path as separates equal names.

    Raises CalibError when a folder is given twice.
    """
    for folder, count in Counter(folders).items():
        if count > 1:
            raise CalibError("duplicate", f"'{folder}' is given {count} times. Give it once.")
    names = []
    for folder in folders:
        length = next(
            k for k in range(1, len(folder.parts) + 1)
            if sum(other.parts[-k:] == folder.parts[-k:] for other in folders) == 1
        )  # fmt: skip
        names.append("/".join(folder.parts[-length:]))
    return names


def required_file(folder: Path, name: str) -> Path:
    """The path of a file that every finished sweep has. Raises CalibError when it is missing."""
    path = folder / name
    if not path.is_file():
        raise CalibError(
            "unfinished-run",
            f"'{folder}' has no {name}: it is not a finished run of calib.sweep. Give the folder "
            "that the command prints at its end. A run that was interrupted resumes when its "
            "command is given again.",
        )
    return path


def settings_text(config: SweepConfig) -> str:
    """The resolved settings of a sweep as YAML, the content of config.yaml."""

    # As OmegaConf.to_yaml does, which refuses texts such as "${" that are no interpolation.
    def dumped(allow_unicode: bool) -> str:
        return yaml.dump(
            dataclasses.asdict(config),
            Dumper=get_omega_conf_dumper(),
            default_flow_style=False,
            allow_unicode=allow_unicode,
            sort_keys=False,
        )

    text = dumped(allow_unicode=True)
    # YAML reads these line breaks as blanks unless they are escaped, and the dumper escapes either
    # all characters outside of ASCII or none.
    return dumped(allow_unicode=False) if set(text) & set("\x85\u2028\u2029") else text


def read_directions(folder: Path, is_extraction: bool) -> dict[str, Direction]:
    """The fitted directions of a run by file name without suffix.

    Those of an extraction include the measured effects of its layers. Raises CalibError when a file
    is damaged.
    """
    files = sorted((folder / DIRECTIONS).glob("*.safetensors"))
    directions = {path.stem: read_direction(path) for path in files}
    if is_extraction:
        extracted = read_direction(folder / EXTRACTED)
        name = direction_name(
            extracted.contrast, extracted.estimator, extracted.read_positions, extracted.site
        )
        directions[name] = _with_effects(directions.get(name, extracted), extracted)
    return directions


def _with_effects(all_layers: Direction, extracted: Direction) -> Direction:
    """The direction at all layers with the effects at the extracted ones, nan elsewhere."""
    if not extracted.effect:
        return all_layers
    rows = {layer: row for row, layer in enumerate(extracted.layers)}
    effects: dict[str, Any] = {
        name: [values[rows[layer]] if layer in rows else math.nan for layer in all_layers.layers]
        for name in ("effect", "effect_low", "effect_high", "effect_strength")
        if (values := getattr(extracted, name))
    }
    return replace(
        all_layers, effect_kl=extracted.effect_kl, effect_n=extracted.effect_n, **effects
    )


def read_all_projections(
    folder: Path, directions: Mapping[str, Direction]
) -> dict[str, Projections]:
    """Projections of examples on the ``directions`` of a run, by the same names, where on record.

    Raises CalibError when a file is damaged or belongs to another direction.
    """
    projections = {}
    for name, direction in directions.items():
        path = projections_path(folder / DIRECTIONS / f"{name}.safetensors")
        if path.is_file():
            projections[name] = read_projections(path)
            _require_match(direction, projections[name], path)
    return projections


def read_all_parts(
    folder: Path, directions: Mapping[str, Direction]
) -> dict[str, list[PartSeparation]]:
    """The separation by part along the ``directions`` of a run, by the same names, where on record.

    Raises CalibError when a file is damaged.
    """
    paths = {name: parts_path(folder / DIRECTIONS / f"{name}.safetensors") for name in directions}
    return {name: read_parts(path) for name, path in paths.items() if path.is_file()}


def _require_match(direction: Direction, projections: Projections, path: Path) -> None:
    """Raise CalibError unless these can be projections on this direction."""
    validated = [
        side for side, split in zip(projections.sides, projections.splits, strict=True)
        if split == "validation"
    ]  # fmt: skip
    count = min(validated.count(side) for side in SIDES)
    if (projections.layers, count) != (direction.layers, direction.auroc_pairs):
        raise CalibError(
            "mismatch",
            f"{path} has layers {projections.layers} and {count} validation examples a side; the "
            f"direction of the same name has layers {direction.layers} and "
            f"{direction.auroc_pairs}. One of the two was replaced after the run. Delete both and "
            "run the command again.",
        )


@dataclass(frozen=True)
class LabelledRow(SettingKey):
    """The id of a row with its example, setting and label, as in labels.jsonl."""

    row: str
    example: str
    label: str | None = None
    """None for a question, and for a response that has no verdict."""


def require_complete(
    folder: Path,
    rows: Sequence[LabelledRow],
    examples: Mapping[str, Example],
    responses: Mapping[str, Record],
) -> None:
    """Raise CalibError, naming ``folder``, unless each row has its example and its response."""
    for row in rows:
        record = responses.get(row.row, {})
        # KL is not measured for a remote model.
        measured = isinstance(record.get("kl", ""), int | float | None)
        if (
            not measured
            or not isinstance(record.get("response"), str)
            or row.example not in examples
        ):
            raise CalibError(
                "mismatch",
                f"{folder}: row {row.row} of {LABELS_FILE} has no complete record in rows.jsonl, "
                f"or its example is not in {EXAMPLES_FILE}. Run the sweep's command again.",
            )


def is_cut_thought(record: Record) -> bool:
    """Whether a recorded response ended within its thought, so that nothing of it can be judged.

    An endpoint may hide thoughts: its response is then empty at the token limit.
    """
    response, remote = str(record["response"]), "model" in record
    hidden = remote and record.get("finish") == "length" and not response.strip()
    return hidden or after_thoughts(response) is None


def judged_of(
    rows: Sequence[LabelledRow],
    examples: Sequence[Example],
    records: Sequence[Record],
    labels: Sequence[str | None],
    exact: bool,
) -> list[Judged]:
    """Recorded responses with their ``labels``, as scoring takes them; all correspond.

    ``exact`` says that the judge knows the mini world's sentences, so that its questions are
    compared word by word. Raises CalibError for an unknown label.
    """
    judged = []
    for row, example, record, label in zip(rows, examples, records, labels, strict=True):
        is_query, response = example.dataset in SAFETY_DATASETS, record["response"]
        unmarked = is_query or record.get("finish") == "too_long"
        overflowed = record.get("finish") == "not_finite"
        judged.append(
            Judged(
                example_id=example.id,
                pair=example.pair,
                query_group=example.query_group,
                concept=example.concept,
                dataset=example.dataset,
                variant=example.variant,
                category=example.category,
                split=example.split,
                safety=example.safety,
                method=row.method,
                layer=row.layer,
                strength=row.strength,
                label=checked_label(label) if is_query and label is not None else None,
                correct=None
                if unmarked
                else not overflowed and is_correct_answer(example, response, exact),
                kl=record["kl"] if example.dataset == "utility" else None,
                kl_base=record.get("kl_base") if example.dataset == "utility" else None,
                unread=parse_answer(example, response) is None
                if "kind" in example.metadata
                else None,
                empty=not is_cut_thought(record) and not final_answer(response).strip(),
                truncated=record.get("finish") == "length",
                overflowed=overflowed,
            )
        )
    return judged


def write_labels(path: Path, rows: Sequence[str], judged: Sequence[Judged], judge: str) -> None:
    """Write one checked line of JSON per row id: example, setting, label and the judge's id."""
    lines = [
        checked_line(
            {
                "row": row,
                "example": response.example_id,
                "method": response.method,
                "layer": response.layer,
                "strength": response.strength,
                "label": response.label,
                "correct": response.correct,
                "judge": judge,
            }
        )
        for row, response in zip(rows, judged, strict=True)
    ]
    write_atomically(path, b"".join(lines))


_LABELLED = {
    **dict.fromkeys(("row", "example", "method", "judge"), str),
    "layer": int | None,
    "strength": _NUMBER,
    "label": str | None,
}


def read_labels(path: Path) -> tuple[list[LabelledRow], str]:
    """The rows of labels.jsonl, and the id of the judge. Raises CalibError for a damaged file."""
    lines = read_lines(path, _LABELLED)
    names = ("method", "layer", "strength", "row", "example", "label")
    rows = [LabelledRow(*(line[name] for name in names)) for line in lines]
    return [replace(row, strength=float(row.strength)) for row in rows], lines[0]["judge"]
