"""MOSSBench (Li et al., arXiv 2406.17806): benign queries with pictures that provoke refusals.

300 benign pairs of a question and a picture, 100 for each of three stimulus types, and 244 harmful
contrasts. A contrast with the picture of its benign query is text-centric, as is that query: the
words determine safety. All others are image-centric: question and picture together determine it.
The content of the pictures decides, not their names or the type.

Accepted layouts: the repository, with data/images_information/information.json (an object keyed by
query number, with image, a path under data; question; pid; and metadata, whose "over" is "type 1",
"type 2" or "type 3"; description and short description are not used) and data_contrast with the
same structure; or the hub's AIcell/MOSSBench (configuration oversensitivity, split train), which
has the benign queries only. A contrast has the pid of its benign query: 198 of the 200 of types 1
and 3 are a harmful question about the same picture, 43 of the 44 of type 2 the same question about
another picture. Rows without pid or question are skipped.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from calib.config.choices import Safety
from calib.config.data import PublishedData
from calib.data.audit.pictures import first_copies
from calib.data.audit.rows import size_note
from calib.data.example import Benchmark, Example
from calib.data.images import PictureBytes, PictureFile
from calib.data.published.copies import (
    Copy,
    local_copy,
    read_subset,
    required_picture,
    rows_with_text,
)
from calib.data.splits import split_of
from calib.data.tables import TableRow, cell_prompt, cell_text, check_columns
from calib.util.errors import CalibError

SUBSETS = ("oversensitivity", "contrast")
VARIANTS = ("photo",)

FOLDERS = {"oversensitivity": "data", "contrast": "data_contrast"}
COLUMNS = ("pid", "question", "image", "metadata")
OPTIONAL = ("description", "short description")
ROWS = {"oversensitivity": 300, "contrast": 244}
SOURCE = "Clone github.com/xirui-li/MOSSBench"
TYPES = {
    "type 1": "exaggerated risk",
    "type 2": "negated harm",
    "type 3": "counterintuitive interpretation",
}


def load(config: PublishedData) -> Benchmark:
    """The benign queries and, with the subset contrast, their harmful twins."""
    copy = local_copy(config, SOURCE)
    groups: dict[str, list[Example]] = {}
    pictures: dict[str, PictureFile | PictureBytes] = {}
    notes: list[str] = []
    for subset in config.subsets:
        rows, where = _rows(config, copy, subset)
        check_columns(rows, COLUMNS, where, OPTIONAL)
        notes += size_note(len(rows), ROWS[subset], where)
        numbered, skipped = rows_with_text(rows, where, "pid", "question")
        notes += skipped
        safety: Safety = "unsafe" if subset == "contrast" else "safe"
        for number, row in numbered:
            pair = f"mossbench/{cell_text(row, 'pid')}"
            row_name = f"{where}, row {number + 1}"
            id_ = f"{subset}/{cell_text(row, 'pid')}"
            pictures[id_] = _picture(copy, subset, row, f"{row_name}, column 'image'")
            groups.setdefault(pair, []).append(
                Example(
                    id=id_,
                    dataset="image_centric",
                    variant="photo",
                    category=_category(row, row_name),
                    split=split_of(pair, config.train, config.validation),
                    query=cell_prompt(row, "question"),
                    picture=pictures[id_],
                    safety=safety,
                    pair=pair,
                    system=config.system,
                )
            )
    examples = [e for members in groups.values() for e in _with_part(members, pictures)]
    count = sum(example.dataset == "text_centric" for example in examples)
    if count:
        notes.append(
            "mossbench: queries whose contrast has the same picture, and the contrasts, are "
            f"text-centric: n={count}"
        )
    return Benchmark(examples, notes)


def _with_part(
    members: list[Example], pictures: Mapping[str, PictureFile | PictureBytes]
) -> list[Example]:
    """The examples of a pair: text-centric if a contrast has the picture of a benign query."""
    firsts = first_copies(pictures[example.id] for example in members)
    sides: dict[Any, set[Any]] = {"safe": set(), "unsafe": set()}
    for example in members:
        sides[example.safety].add(firsts[pictures[example.id]])
    if sides["safe"].isdisjoint(sides["unsafe"]):
        return members
    return [replace(example, dataset="text_centric") for example in members]


def _rows(config: PublishedData, copy: Copy | None, subset: str) -> tuple[list[TableRow], str]:
    if copy is None and subset == "contrast":
        raise CalibError(
            "unsupported",
            "data.subsets: contrast is available in the repository only, not on the hub. "
            f"{SOURCE}; then give its folder: data.root=FOLDER.",
        )
    names = (f"{FOLDERS[subset]}/images_information/information.json",)
    return read_subset(config, SOURCE, names, subset, "train")


def _picture(
    copy: Copy | None, subset: str, row: Mapping[str, Any], where: str
) -> PictureFile | PictureBytes:
    if copy is not None:
        return copy.picture(copy.folder / FOLDERS[subset], cell_prompt(row, "image"), where)
    # On the hub "image" may hold the file name and "decoded_image" the picture.
    cell = row.get("decoded_image") or row["image"]
    return required_picture(cell, where, SOURCE)


def _category(row: TableRow, where: str) -> str:
    metadata = row["metadata"]
    stimulus = metadata.get("over") if isinstance(metadata, dict) else None
    if stimulus not in TYPES:
        raise CalibError(
            "invalid-content",
            f"{where}: in metadata {metadata!r} 'over' is not one of {', '.join(TYPES)}. "
            "Download the file again.",
        )
    return TYPES[stimulus]
