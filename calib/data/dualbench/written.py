"""A folder of rendered pictures: written with a manifest, and read back to the same examples."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from calib.config.choices import Safety
from calib.config.data import DualBenchData
from calib.data.dualbench.categories import parse_category
from calib.data.dualbench.rendering import VARIANTS, Rendering
from calib.data.example import Example
from calib.data.images import picture_file
from calib.data.splits import split_of
from calib.data.tables import check_columns, read_table
from calib.util.errors import CalibError
from calib.util.files import write_atomically
from calib.util.progress import row_bar

MANIFEST = "manifest.jsonl"
PICTURES = "pictures"
_TEXTS = ("id", "pair", "category", "code", "safety", "variant", "text", "picture")
Content = Callable[[], bytes]
"""What a file will hold, made once the folder is known to be free."""
_SIDES: dict[str, Safety] = {"safe": "safe", "unsafe": "unsafe"}


def write_set(examples: Sequence[Example], folder: Path, others: Mapping[str, Content]) -> None:
    """Write the pictures of rendered examples, ``others`` by their file names and, last, the
    manifest, so that a folder with a manifest is whole.

    Raises CalibError for a folder that holds anything else; what an interrupted run of the same
    command left is overwritten with the same bytes.
    """
    manifest = "".join(json.dumps(_line(e), ensure_ascii=False) + "\n" for e in examples)
    _refuse_other_contents(folder, manifest, {name_of(e) for e in examples}, others)
    with row_bar("drawing", len(examples), "pictures") as bar:
        for example in examples:
            assert example.picture is not None
            held = io.BytesIO()
            example.picture().save(held, format="PNG")
            write_atomically(folder / name_of(example), held.getvalue())
            bar.update(1)
    for name, content in others.items():
        write_atomically(folder / name, content())
    write_atomically(folder / MANIFEST, manifest)


def name_of(example: Example) -> str:
    """Path of an example's picture in the folder; nothing in it is text of the user's."""
    digest = hashlib.sha256(example.id.encode()).hexdigest()[:16]
    return f"{PICTURES}/{example.metadata['code']}_{example.variant}_{example.safety}_{digest}.png"


def _line(example: Example) -> dict[str, Any]:
    assert isinstance(example.picture, Rendering)
    look = example.picture.look()
    return {
        "id": example.id,
        "pair": example.pair,
        "category": example.category,
        "code": example.metadata["code"],
        "safety": example.safety,
        "variant": example.variant,
        "text": example.metadata["text"],
        "picture": name_of(example),
        "split": example.split,
        "size": example.picture.side,
        "font": example.picture.typeface.path.name,
        "font_px": look.font_px,
        "angle": round(look.angle, 3),
        "noise": round(look.noise, 4),
        "background": look.background,
        "seed": example.picture.seed,
    }


def _refuse_other_contents(
    folder: Path, manifest: str, pictures: set[str], others: Iterable[str]
) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CalibError(f"{folder} is a file. Give a folder: out=FOLDER.")
    known = {MANIFEST, PICTURES, *others, *pictures}
    for path in sorted(path for path in folder.rglob("*") if not _is_unfinished(path)):
        name = path.relative_to(folder).as_posix()
        if name not in known:
            raise CalibError(
                f"{folder} holds something else ({name!r}). Give an empty or a new folder, or the "
                "one that this very command wrote: out=FOLDER."
            )
    written = folder / MANIFEST
    if written.is_file() and written.read_bytes() != manifest.encode():
        raise CalibError(
            f"{folder} holds pictures drawn with other settings. Give another folder, or delete "
            "this one: out=FOLDER."
        )


def _is_unfinished(path: Path) -> bool:
    # What write_atomically leaves behind when it is killed.
    return path.name.startswith(".") and path.name.endswith(".tmp")


def read_set(root: Path, config: DualBenchData) -> tuple[list[Example], list[str]]:
    """The examples of a folder that ``write_set`` wrote, in its order, and notes on them.

    Query, system prompt and the shares of the splits come from ``config``. Raises CalibError for a
    folder without a manifest, and a line that is damaged or names a picture outside of it.
    """
    if not (root / MANIFEST).is_file():
        raise CalibError(
            f"data.root: {root} has no {MANIFEST}. Give a folder that python -m calib.dualbench "
            "out=FOLDER wrote."
        )
    rows = read_table(root / MANIFEST)
    check_columns(rows, _TEXTS, str(root / MANIFEST))
    examples = [
        _example(row, root, config, f"{root / MANIFEST}, line {number}")
        for number, row in enumerate(rows, start=1)
    ]
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise CalibError(f"{root / MANIFEST}: '{example.id}' stands there twice. Delete one.")
        seen.add(example.id)
    moved = sum(row.get("split") != e.split for row, e in zip(rows, examples, strict=True))
    if not moved:
        return examples, []
    note = (
        f"dualbench: {moved} of {len(examples)} examples are in another split than {MANIFEST} "
        "says, for data.train and data.validation are others"
    )
    return examples, [note]


def _example(row: dict[str, Any], root: Path, config: DualBenchData, where: str) -> Example:
    for column in _TEXTS:
        if not isinstance(row.get(column), str) or not row[column]:
            raise CalibError(f"{where}: '{column}' is no text. Write the folder again.")
    if row["variant"] not in VARIANTS or row["safety"] not in _SIDES:
        raise CalibError(
            f"{where}: variant '{row['variant']}' and safety '{row['safety']}' should be one of "
            f"{', '.join(VARIANTS)} and one of {', '.join(_SIDES)}. Write the folder again."
        )
    category = parse_category(row["code"], where)
    if row["category"] != category.name:
        raise CalibError(
            f"{where}: code {category.code} is {category.name}, not '{row['category']}'. Write the "
            "folder again."
        )
    return Example(
        id=row["id"],
        dataset="dual_use",
        variant=row["variant"],
        category=category.name,
        split=split_of(row["pair"], config.train, config.validation),
        query=config.query,
        picture=picture_file(root, row["picture"], where),
        safety=_SIDES[row["safety"]],
        pair=row["pair"],
        metadata={"text": row["text"], "code": category.code},
        system=config.system,
    )
