"""ScienceQA's own files: problems.json, pid_splits.json and the pictures.

The repository has data/scienceqa/problems.json, an object of problems by number with the hub's
columns, image (a file name or null) and split; pid_splits.json, the numbers of each split; and the
pictures images/SPLIT/NUMBER/image.png.
"""

from pathlib import Path
from typing import Any

from calib.config.data import PublishedUtility
from calib.data.tables import TableRow, cell_text, check_columns, read_table
from calib.data.utility.source import SourceRow
from calib.util.errors import CalibError
from calib.util.files import home_expanded
from calib.util.reading import file_text, parse_json

COLUMNS = ("question", "choices", "answer", "hint", "image", "subject", "topic", "split")
_FOLDERS = ("", "data/scienceqa", "scienceqa", "data")
_OTHER_NAMES = {"validation": "val"}
"""Names of splits on the hub, with those of the repository."""


def own_rows(config: PublishedUtility) -> list[tuple[str, SourceRow]] | None:
    """The keys and rows of utility.split in utility.root; None if there is no problems.json.

    Raises CalibError if the split has no problems, and for files that cannot be read.
    """
    if config.root is None:
        return None
    root = home_expanded(config.root)
    paths = (
        [root] if root.name == "problems.json" else [root / f / "problems.json" for f in _FOLDERS]
    )
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    problems = read_table(path)
    check_columns(problems, COLUMNS, str(path))
    split = _OTHER_NAMES.get(config.split, config.split)
    images = path.parent / "images"
    folder = images if images.is_dir() else path.parent
    rows: list[tuple[str, SourceRow]] = []
    for number, problem in enumerate(_of_split(path, problems, split)):
        id_, image = cell_text(problem, "id"), cell_text(problem, "image")
        # The pictures of minival and other parts of a split are in the folder of that split.
        place = f"{cell_text(problem, 'split')}/{id_}/{image}" if image else None
        where = f"{path}, problem {id_}"
        rows.append(
            (f"problem/{id_}", SourceRow({**problem, "image": place}, number, where, folder))
        )
    return rows


def _of_split(path: Path, problems: list[TableRow], split: str) -> list[TableRow]:
    """The problems that pid_splits.json lists for a split, or else those that state it."""
    lists = path.parent / "pid_splits.json"
    if lists.is_file():
        splits = _read_lists(lists)
        by_id = {cell_text(problem, "id"): problem for problem in problems}
        ids = [str(id_) for id_ in splits.get(split, [])]
        if missing := [id_ for id_ in ids if id_ not in by_id]:
            raise CalibError(
                "missing-value",
                f"{lists} names problem {missing[0]} in split '{split}', which {path} does not "
                f"contain (missing: {len(missing)}). Download both files again.",
            )
        chosen, names = [by_id[id_] for id_ in ids], sorted(splits)
    else:
        chosen = [problem for problem in problems if cell_text(problem, "split") == split]
        names = sorted({cell_text(problem, "split") for problem in problems})
    if not chosen:
        raise CalibError(
            "too-few",
            f"{path} has no problems of utility.split={split}. Its splits are {', '.join(names)}.",
        )
    return chosen


def _read_lists(path: Path) -> dict[str, list[Any]]:
    try:
        content = parse_json(file_text(path))
    except (OSError, ValueError) as error:
        raise CalibError(
            "unreadable", f"{path} cannot be read: {error}. Download it again."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(v, list) for v in content.values()):
        raise CalibError(
            "invalid-content",
            f"{path} does not hold a list of problem numbers per split. Download it again.",
        )
    return content
