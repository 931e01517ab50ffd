"""Write rendered pictures with a manifest to a folder, and read the folder back as examples."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from calib.config.choices import Safety
from calib.config.data import DualBenchData
from calib.data.dualbench.rendering import VARIANTS, Rendering
from calib.data.dualbench.twins import parse_category
from calib.data.example import Example
from calib.data.images import picture_file
from calib.data.splits import split_of
from calib.data.tables import check_columns, read_table
from calib.util.errors import CalibError
from calib.util.files import write_atomically
from calib.util.progress import row_bar

MANIFEST = "manifest.jsonl"
PICTURES = "pictures"
_TEXT_COLUMNS = ("id", "pair", "category", "code", "safety", "variant", "text", "picture")
Content = Callable[[], bytes]
"""Makes the content of a file, once the folder has been checked."""
_SIDES: dict[str, Safety] = {"safe": "safe", "unsafe": "unsafe"}


def write_set(examples: Sequence[Example], folder: Path, others: Mapping[str, Content]) -> None:
    """Write the pictures of rendered examples, the files ``others`` by name, and the manifest.

    The manifest is last, so that a folder with a manifest is complete. The files of an interrupted
    run of the same command are overwritten with the same bytes. Raises CalibError if the folder
    contains anything else.
    """
    manifest = "".join(json.dumps(_manifest_row(e), ensure_ascii=False) + "\n" for e in examples)
    _check_folder(folder, manifest, {picture_path(e) for e in examples}, others)
    with row_bar("drawing", len(examples), "pictures") as bar:
        for example in examples:
            assert example.picture is not None
            buffer = io.BytesIO()
            example.picture().save(buffer, format="PNG")
            write_atomically(folder / picture_path(example), buffer.getvalue())
            bar.update(1)
    for name, content in others.items():
        write_atomically(folder / name, content())
    write_atomically(folder / MANIFEST, manifest)


def picture_path(example: Example) -> str:
    """Path of an example's picture in the folder; it contains no text from the user's table."""
    digest = hashlib.sha256(example.id.encode()).hexdigest()[:16]
    return f"{PICTURES}/{example.metadata['code']}_{example.variant}_{example.safety}_{digest}.png"


def _manifest_row(example: Example) -> dict[str, Any]:
    assert isinstance(example.picture, Rendering)
    style = example.picture.style()
    return {
        "id": example.id,
        "pair": example.pair,
        "category": example.category,
        "code": example.metadata["code"],
        "safety": example.safety,
        "variant": example.variant,
        "text": example.metadata["text"],
        "picture": picture_path(example),
        "split": example.split,
        "size": example.picture.side,
        "font": example.picture.typeface.path.name,
        "font_px": style.font_px,
        "angle": round(style.angle, 3),
        "noise": round(style.noise, 4),
        "background": style.background,
        "seed": example.picture.seed,
    }


def _check_folder(folder: Path, manifest: str, pictures: set[str], others: Iterable[str]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CalibError("already-exists", f"{folder} is a file. Give a folder: out=FOLDER.")
    known = {MANIFEST, PICTURES, *others, *pictures}
    for path in sorted(path for path in folder.rglob("*") if not _is_unfinished(path)):
        name = path.relative_to(folder).as_posix()
        if name not in known:
            raise CalibError(
                "already-exists",
                f"{folder} contains another file ({name!r}). Give an empty or new folder, or one "
                "that the same command wrote: out=FOLDER.",
            )
    written = folder / MANIFEST
    if written.is_file() and written.read_bytes() != manifest.encode():
        raise CalibError(
            "different-run",
            f"{folder} contains pictures drawn with other settings. Give another folder, or "
            "delete this one: out=FOLDER.",
        )


def _is_unfinished(path: Path) -> bool:
    # A temporary file that write_atomically leaves when it is killed.
    return path.name.startswith(".") and path.name.endswith(".tmp")


def read_set(root: Path, config: DualBenchData) -> tuple[list[Example], list[str]]:
    """The examples of a folder that ``write_set`` wrote, in their order, with notes.

    Query, system prompt and split shares come from ``config``. Raises CalibError for a folder
    without a manifest, and for a manifest row that is damaged or names a picture outside the
    folder.
    """
    if not (root / MANIFEST).is_file():
        raise CalibError(
            "not-found",
            f"data.root={root} has no {MANIFEST}. Give a folder that python -m calib.dualbench "
            "out=FOLDER wrote.",
        )
    rows = read_table(root / MANIFEST)
    check_columns(rows, _TEXT_COLUMNS, str(root / MANIFEST))
    examples = [
        _example(row, root, config, f"{root / MANIFEST}, line {number}")
        for number, row in enumerate(rows, start=1)
    ]
    ids: set[str] = set()
    for example in examples:
        if example.id in ids:
            raise CalibError(
                "duplicate",
                f"{root / MANIFEST}: the id '{example.id}' occurs twice. Delete one line.",
            )
        ids.add(example.id)
    moved = sum(row.get("split") != e.split for row, e in zip(rows, examples, strict=True))
    if not moved:
        return examples, []
    note = (
        f"dualbench: {moved} of {len(examples)} examples are in another split than in {MANIFEST}, "
        "because data.train and data.validation differ"
    )
    return examples, [note]


def _example(row: dict[str, Any], root: Path, config: DualBenchData, where: str) -> Example:
    for column in _TEXT_COLUMNS:
        if not isinstance(row.get(column), str) or not row[column]:
            raise CalibError(
                "invalid-content", f"{where}: '{column}' is not text. Write the folder again."
            )
    if row["variant"] not in VARIANTS or row["safety"] not in _SIDES:
        raise CalibError(
            "invalid-content",
            f"{where}: variant is '{row['variant']}' (accepted: {', '.join(VARIANTS)}) and safety "
            f"is '{row['safety']}' (accepted: {', '.join(_SIDES)}). Write the folder again.",
        )
    category = parse_category(row["code"], where)
    if row["category"] != category.name:
        raise CalibError(
            "invalid-content",
            f"{where}: code {category.code} is {category.name}, not '{row['category']}'. Write the "
            "folder again.",
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
