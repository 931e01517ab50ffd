"""What was asked in a run, beside its rows: every example but for its pixels.

With it every number of a run can be computed again, by another judge too, where the benchmark
itself is not at hand.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from calib.data.example import SPLITS, Example, Safety
from calib.errors import CalibError
from calib.files import write_atomically
from calib.runs.lines import read_lines

EXAMPLES_FILE = "examples.jsonl"
_KEPT = {
    **dict.fromkeys(("id", "dataset", "variant", "category", "split", "query"), str),
    **dict.fromkeys(("system", "safety", "pair", "answer"), str | None),
}


def check_distinct(examples: Sequence[Example]) -> None:
    """Raise CalibError where two examples have one id: a record could not tell them apart."""
    known: dict[str, Example] = {}
    for example in examples:
        other = known.setdefault(example.id, example)
        if other is not example:
            raise CalibError(
                f"two examples have the id '{example.id}': one of {other.dataset}, one of "
                f"{example.dataset}. Rename one of them in the data, or leave its part out."
            )


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """One line of JSON per example, each once; "picture" says whether it has one."""
    distinct = {example.id: example for example in examples}
    lines = [
        json.dumps(
            {name: getattr(example, name) for name in _KEPT}
            | {"facts": dict(example.facts), "picture": example.picture is not None},
            ensure_ascii=False,
        )
        for example in distinct.values()
    ]
    text = "".join(line + "\n" for line in lines)
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def read_examples(path: Path) -> dict[str, Example]:
    """The examples by id, without their pictures.

    Raises CalibError when the file is missing or damaged.
    """
    if not path.exists():
        raise CalibError(
            f"There is no {path}: the run was not finished, or made by an older calib. Give the "
            "sweep's command again; finished rows are not done again."
        )
    found = {}
    for line in read_lines(path, _KEPT | {"facts": dict}):
        if line["safety"] not in (None, *get_args(Safety)) or line["split"] not in SPLITS:
            raise CalibError(
                f"{path}: example '{line['id']}' is of split '{line['split']}' and safety "
                f"'{line['safety']}', which do not exist. Give the sweep's command again."
            )
        facts = {str(key): str(value) for key, value in line["facts"].items()}
        found[line["id"]] = Example(**{name: line[name] for name in _KEPT}, facts=facts)
    return found
