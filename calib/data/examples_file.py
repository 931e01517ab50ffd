"""The file examples.jsonl: the examples of a run, with their earlier turns, without pictures.

Pictures are restored from the benchmark when it is loaded again.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, get_args

from calib.config.choices import SPLITS, Safety
from calib.data.example import Example, Turn, with_pictures
from calib.util.checked_lines import checked_line
from calib.util.errors import CalibError
from calib.util.files import read_lines, write_atomically

EXAMPLES_FILE = "examples.jsonl"
_FIELDS = {
    **dict.fromkeys(("id", "dataset", "variant", "category", "split", "query"), str),
    **dict.fromkeys(("system", "safety", "pair", "answer"), str | None),
}
"""Fields of an example that examples.jsonl holds, with their types."""
_ADDED_FIELDS = ("query_group", "concept")
"""Fields that files of earlier versions lack; without them, clusters are pairs."""


def check_distinct(examples: Sequence[Example]) -> None:
    """Raise CalibError when two examples have the same id: rows are recorded by it."""
    known: dict[str, Example] = {}
    for example in examples:
        other = known.setdefault(example.id, example)
        if other is not example:
            raise CalibError(
                "duplicate",
                f"two examples have the id '{example.id}': one of {other.dataset}, one of "
                f"{example.dataset}. Rename one of them in the data, or omit its part.",
            )


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write one checked line of JSON per distinct example; "picture" is whether it has a picture,
    and "history" are the queries and responses of its earlier turns, if it has any."""
    distinct = {example.id: example for example in examples}
    lines = []
    for example in distinct.values():
        line = {name: getattr(example, name) for name in (*_FIELDS, *_ADDED_FIELDS)}
        facts = {str(key): _recorded(value) for key, value in example.metadata.items()}
        line |= {"facts": facts, "picture": example.picture is not None}
        if example.demonstrations:
            line["history"] = [[turn.query, turn.response] for turn in example.demonstrations]
        lines.append(checked_line(line))
    write_atomically(path, b"".join(lines))


def _recorded(value: Any) -> str | int | float | None:
    """A value of the metadata, as text if JSON has no such scalar: NaN, a date, a list. It is read
    as text in any case."""
    plain = isinstance(value, str | int | None) or (isinstance(value, float) and isfinite(value))
    return value if plain else str(value)


def read_examples(path: Path) -> tuple[dict[str, Example], set[str]]:
    """The examples by id, without their pictures, and the ids of those that were shown with one.

    Raises CalibError when the file is damaged.
    """
    examples, pictured = {}, set()
    for line in read_lines(path, _FIELDS | {"facts": dict, "picture": bool}):
        if line["safety"] not in (None, *get_args(Safety)) or line["split"] not in SPLITS:
            raise CalibError(
                "invalid-content",
                f"{path}: example '{line['id']}' has the split '{line['split']}' and the safety "
                f"'{line['safety']}', which do not exist. Run the sweep's command again.",
            )
        metadata = {str(key): str(value) for key, value in line["facts"].items()}
        values = {name: line[name] for name in _FIELDS}
        values |= {name: _text_or_none(line, name, path) for name in _ADDED_FIELDS}
        turns = _history(line, path)
        examples[line["id"]] = Example(**values, metadata=metadata, demonstrations=turns)
        if line["picture"]:
            pictured.add(line["id"])
    return examples, pictured


def require_unchanged(
    recorded: Mapping[str, Example], loaded: Mapping[str, Example], why: str
) -> None:
    """Raise CalibError unless each query on record is among the ``loaded`` examples.

    The message says ``why`` they were loaded.
    """
    for name, example in recorded.items():
        unchanged = name in loaded and loaded[name].query == example.query
        if example.safety is not None and not unchanged:
            raise CalibError(
                "mismatch",
                f"{why}, and the run's benchmark has changed: example '{name}' is missing or "
                "has another query. Restore the data of the run.",
            )


def restore_pictures(
    recorded: Mapping[str, Example], loaded: Iterable[Example]
) -> dict[str, Example]:
    """The examples on record, with the pictures of the ``loaded`` examples of the same id."""
    pictures = {example.id: example.pictures for example in loaded}
    return {
        name: with_pictures(example, pictures[name]) if name in pictures else example
        for name, example in recorded.items()
    }


def _history(line: Mapping[str, Any], path: Path) -> tuple[Turn, ...]:
    turns = line.get("history", [])
    valid = isinstance(turns, list) and all(
        isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn)
        for turn in turns
    )
    if not valid:
        raise CalibError(
            "invalid-content",
            f"{path}: the history of example '{line['id']}' is not a list of pairs of texts. Run "
            "the sweep's command again.",
        )
    return tuple(Turn(query, response) for query, response in turns)


def _text_or_none(line: Mapping[str, Any], name: str, path: Path) -> str | None:
    value = line.get(name)
    if not isinstance(value, str | None):
        raise CalibError(
            "invalid-content",
            f"{path}: example '{line['id']}' has {value!r} for {name}, which must be text. Run the "
            "sweep's command again.",
        )
    return value
