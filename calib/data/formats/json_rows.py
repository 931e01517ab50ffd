"""Read JSON and JSON lines strictly: rows are objects, and no key is repeated."""

import json
from typing import Any

from calib.data.formats.strict_csv import require_distinct
from calib.util.reading import parse_json


def json_rows(text: str) -> list[dict[str, Any]]:
    """The rows of a list of objects, of an object of objects keyed by id (each row gets its key as
    "id" unless it has one), or of an object per line.

    Raises ValueError, with the line, for other JSON and for repeated keys.
    """
    try:
        content = _json(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data" or not text.lstrip().startswith("{"):
            raise ValueError(_json_problem(error, text)) from None
        return json_lines(text)  # several objects, one per line
    if isinstance(content, dict):
        if not all(isinstance(row, dict) for row in content.values()):
            raise ValueError("the JSON object does not hold one object per row")
        return [{"id": key, **row} for key, row in content.items()]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError("the JSON file does not hold a list of objects")
    return content


def _json(text: str) -> Any:
    """JSON without repeated keys; NaN is None."""

    def constant(name: str) -> None:
        if name != "NaN":
            raise ValueError(f"{name} is not a value of a table")

    def row(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        require_distinct([key for key, _ in pairs], "the key")
        return dict(pairs)

    content = parse_json(text, object_pairs_hook=row, parse_constant=constant)
    if r"\ud" in text.lower():  # half of a character that JSON writes as two escapes
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):x}"
            raise ValueError(f"it has {half}, which is half of a character") from None
    return content


def _json_problem(error: json.JSONDecodeError, text: str) -> str:
    at = f"line {error.lineno}, column {error.colno}"
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
        return f"its JSON breaks off ({error.msg}: {at}): the file is not complete"
    return f"it is not valid JSON ({error.msg}: {at})"


def json_lines(text: str) -> list[dict[str, Any]]:
    """The rows of a text with a JSON object per line; raises as ``json_rows`` does."""
    # Not splitlines: it also breaks at characters that JSON does not escape.
    return [_json_row(line, k) for k, line in enumerate(text.split("\n"), 1) if line.strip()]


def _json_row(line: str, number: int) -> dict[str, Any]:
    try:
        row = _json(line)
    except ValueError as error:
        raise ValueError(f"line {number} is not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(
            f"line {number} is not a JSON object. (A list of objects is read from a .json file)"
        )
    return row
