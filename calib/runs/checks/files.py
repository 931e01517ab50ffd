"""Files of a finished run that are read again: whether they are as the run wrote them.

config.yaml ends with its checksum, and the records of operating_points.json hold their own and that
of results.csv. Files of earlier versions have none, and are read without the check.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calib.runs.operating_points import OPERATING_POINTS_FILE
from calib.runs.run_files import CONFIG_FILE, RESULTS_FILE, required_file
from calib.scoring.results import Result, RunResults, read_results, results_checksum
from calib.util.checksums import KEY, checked_object, read_checked_object, read_checked_settings
from calib.util.errors import CalibError
from calib.util.files import typed_object, without_control_characters
from calib.util.reading import file_bytes, parse_json

OF_RESULTS = "results_crc32"
"""Key of an operating point with the checksum of results.csv."""


def read_settings_text(folder: Path) -> str:
    """Content of config.yaml without its checksum. Raises CalibError when the two do not match."""
    path = required_file(folder, CONFIG_FILE)
    try:
        return read_checked_settings(file_bytes(path)).decode(errors="replace")
    except (OSError, ValueError) as error:
        raise _changed(path, str(error)) from error


_POINT = {"method": str, "layer": int | None, "strength": int | float, "strength_means": str}
_POINT_DETAILS = {
    **dict.fromkeys(("choose", "variants", "demonstrations"), dict),
    "fit_notes": list,
    **dict.fromkeys(("supervision", "checkpoint", "model"), str | None),
    **dict.fromkeys(("prompt_only", "reference", "kept_uncalibrated"), bool),
    "tolerance": int | float,
    "settings": int | None,
}
"""Fields of a record that earlier versions or other methods lack."""


def read_operating_points(path: Path) -> list[dict[str, Any]]:
    """The records of operating_points.json. Raises CalibError when the file is damaged."""
    try:
        records = parse_json(file_bytes(path))
        points = [read_checked_object(record) for record in records]
        if any(OF_RESULTS in record and KEY not in record for record in records):
            raise ValueError(f"a record lacks its checksum ({KEY})")
        for number, point in enumerate(points or [{}], start=1):
            typed_object(point, _POINT, f"record {number}", _POINT_DETAILS)
        return points
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CalibError(
            "unreadable", f"'{path}' cannot be read ({error}). Run the sweep again."
        ) from error


def points_text(points: Sequence[Mapping[str, Any]], results: Sequence[Result]) -> str:
    """Content of operating_points.json, with the checksums of its records and of ``results``."""
    checksum = {OF_RESULTS: results_checksum(results)}
    checked = [checked_object({**point, **checksum}) for point in points]
    return json.dumps(checked, indent=2) + "\n"


def read_tables(folder: Path) -> list[RunResults]:
    """The tables of results.csv. Raises CalibError when they are not those that the run wrote."""
    path = required_file(folder, RESULTS_FILE)
    tables = read_results(path)
    if not (folder / OPERATING_POINTS_FILE).is_file():
        return tables
    point = read_operating_points(folder / OPERATING_POINTS_FILE)[0]
    if OF_RESULTS not in point:
        return tables
    results = [result for table in tables for result in table.results]
    if results_checksum(results) != point[OF_RESULTS]:
        raise _changed(path, f"it does not match {OF_RESULTS} in {OPERATING_POINTS_FILE}")
    model = without_control_characters(str(point.get("model", point["checkpoint"])))
    if [table.model for table in tables] != [model]:
        named = ", ".join(f"'{table.run}', '{table.model}'" for table in tables)
        raise _changed(
            path, f"its columns run and model have {named}; the run's only model is '{model}'"
        )
    return tables


def _changed(path: Path, why: str) -> CalibError:
    return CalibError(
        "invalid-content",
        f"{path} was changed after the run wrote it, by the disk or another program: {why}. Run "
        "the sweep's command again, which writes it anew from the recorded rows.",
    )
