"""POPE's own files: JSON lines of questions, one file per category, and a folder of photographs.

The repository has output/coco/coco_pope_CATEGORY.json with question_id, image (a file name), text
(the question) and label (yes or no). The photographs are those of COCO's val2014. The files of GQA
and A-OKVQA have the same form as a list.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from calib.config.data import PublishedUtility
from calib.data.tables import cell_text, check_columns, read_table
from calib.data.utility.source import SourceRow
from calib.util.errors import CalibError
from calib.util.files import home_expanded

CATEGORIES = ("random", "popular", "adversarial")
COLUMNS = ("question_id", "image", "text", "label")
_NAME = re.compile(rf"(?:\w+_)?pope_(?:seem_)?({'|'.join(CATEGORIES)})\.jsonl?")
_FOLDERS = ("", "coco", "output/coco", "annotations")


def own_rows(config: PublishedUtility) -> list[SourceRow] | None:
    """The rows of POPE's own files in utility.root, with the hub's columns; None if there are none.

    utility.split is test for all categories, or one of them. Raises CalibError if a category has no
    file or several, and if no folder has the photographs.
    """
    if config.root is None:
        return None
    root = home_expanded(config.root)
    files = _files(root)
    if not files:
        return None
    if root.is_file():
        category, path = files[0]
        if config.split not in ("test", category):
            raise CalibError(
                "conflicting-settings",
                f"utility.split={config.split}, but utility.root={root} is the file of {category}. "
                "Give the folder of the files, or omit the split.",
            )
        selected = files
    else:
        selected = _selected(root, files, config.split)
    rows: list[SourceRow] = []
    for category, path in selected:
        table = read_table(path)
        check_columns(table, COLUMNS, str(path))
        folder = _photographs(root, path, [cell_text(row, "image") for row in table])
        for number, row in enumerate(table):
            image = cell_text(row, "image")
            named = {
                "question_id": row["question_id"],
                "image_source": Path(image).stem,
                "image": image,
                "question": row["text"],
                "answer": row["label"],
                "category": category,
            }
            rows.append(SourceRow(named, number, f"{path}, row {number + 1}", folder))
    return rows


def _files(root: Path) -> list[tuple[str, Path]]:
    """The categories and paths of the files in the first folder that has any."""
    if root.is_file():
        match = _NAME.fullmatch(root.name)
        return [(match[1], root)] if match else []
    for name in _FOLDERS:
        folder = root / name
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        matches = [(_NAME.fullmatch(path.name), path) for path in paths if path.is_file()]
        if found := [(match[1], path) for match, path in matches if match]:
            return found
    return []


def _selected(root: Path, files: Sequence[tuple[str, Path]], split: str) -> list[tuple[str, Path]]:
    wanted = CATEGORIES if split == "test" else (split,)
    for category in wanted:
        paths = [path for name, path in files if name == category]
        if len(paths) != 1:
            listed = ", ".join(str(path) for path in paths) or "none"
            raise CalibError(
                "duplicate" if paths else "not-found",
                f"{root} should contain one file of POPE's category '{category}', such as "
                f"coco_pope_{category}.json, but contains {listed}. Add or remove files, or choose "
                f"utility.split: test for all of {', '.join(CATEGORIES)}, or one of them.",
            )
    return [entry for category in wanted for entry in files if entry[0] == category]


def _photographs(root: Path, path: Path, names: Sequence[str]) -> Path:
    """The folder with any of the named photographs."""
    tops = [root if root.is_dir() else path.parent, path.parent, path.parent.parent]
    folders = list(dict.fromkeys(top / name for top in tops for name in ("val2014", "images", "")))
    for folder in folders:
        if any(name and (folder / name).is_file() for name in dict.fromkeys(names)):
            return folder
    raise CalibError(
        "not-found",
        f"None of the photographs of {path} (such as {names[0]!r}) is in "
        f"{', '.join(map(str, folders[:2]))}. Put those of COCO's val2014 into {folders[0]}.",
    )
