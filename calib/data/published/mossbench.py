"""MOSSBench (Li et al., arXiv 2406.17806): benign queries about pictures that make a model refuse.

300 benign pairs of a question and a picture, 100 for each of three stimuli, and 244 harmful
contrasts. Image-centric: the pair of question and picture decides, and the words alone do not say
what is safe.

The repository has data/images_information/information.json, an object whose keys are the numbers
of the queries, with image (a path under data), question, description, short description, pid and
metadata (over: "type 1", "type 2" or "type 3"; human, child, syn, ocr, harm), and data_contrast,
built alike. A contrast has the pid of its benign query: of types 1 and 3 it asks something harmful
about the same picture, of type 2 it asks the same about another picture. The hub's AIcell/MOSSBench
has the benign queries only (configuration oversensitivity, split train).
"""

from collections.abc import Mapping
from typing import Any

from calib.config.data import PublishedData
from calib.data.example import Benchmark, Example, Picture, Safety, split_of
from calib.data.hub import read_hub
from calib.data.published.copies import Copy, local_copy, picture_of, prompt_of, with_text
from calib.data.tables import TableRow, checked_columns, read_table, text_of
from calib.util.errors import CalibError

SUBSETS = ("oversensitivity", "contrast")
VARIANTS = ("photo",)

FOLDERS = {"oversensitivity": "data", "contrast": "data_contrast"}
COLUMNS = ("pid", "question", "image", "metadata")
KNOWN = ("description", "short description")
GET = "Clone github.com/xirui-li/MOSSBench"
TYPES = {
    "type 1": "exaggerated risk",
    "type 2": "negated harm",
    "type 3": "counterintuitive interpretation",
}


def load(config: PublishedData) -> Benchmark:
    """The benign queries, and with the subset contrast their harmful twins."""
    copy = local_copy(config, GET)
    groups: dict[str, list[Example]] = {}
    notes: list[str] = []
    for subset in config.subsets:
        rows, where = _rows(config, copy, subset)
        checked_columns(rows, COLUMNS, where, KNOWN)
        numbered, dropped = with_text(rows, where, "pid", "question")
        notes += dropped
        safety: Safety = "unsafe" if subset == "contrast" else "safe"
        for number, row in numbered:
            pair = f"mossbench/{text_of(row, 'pid')}"
            what = f"{where}, row {number + 1}, column 'image'"
            groups.setdefault(pair, []).append(
                Example(
                    id=f"{subset}/{text_of(row, 'pid')}",
                    dataset="image_centric",
                    variant="photo",
                    category=_category(row, where, number),
                    split=split_of(pair, config.train, config.validation),
                    query=prompt_of(row, "question"),
                    picture=_picture(copy, subset, row, what),
                    safety=safety,
                    pair=pair,
                    system=config.system,
                )
            )
    return Benchmark([example for members in groups.values() for example in members], notes)


def _rows(config: PublishedData, copy: Copy | None, subset: str) -> tuple[list[TableRow], str]:
    if copy is not None:
        path = copy.file(f"{FOLDERS[subset]}/images_information/information.json")
        return read_table(path), str(path)
    if subset == "contrast":
        raise CalibError(
            "data.subsets: contrast is in the repository only, not on the hub. "
            f"{GET}, and name its folder: data.root=FOLDER."
        )
    rows = read_hub(str(config.hub), subset, "train", config.revision)
    return rows, f"{config.hub} ({subset}), split train"


def _picture(copy: Copy | None, subset: str, row: Mapping[str, Any], what: str) -> Picture:
    if copy is not None:
        return copy.picture(copy.folder / FOLDERS[subset], prompt_of(row, "image"), what)
    # On the hub image may be the file's name, and the picture itself stand beside it.
    cell = row.get("decoded_image") or row["image"]
    return picture_of(cell, what, GET)


def _category(row: TableRow, where: str, number: int) -> str:
    metadata = row["metadata"]
    over = metadata.get("over") if isinstance(metadata, dict) else None
    if over not in TYPES:
        raise CalibError(
            f"{where}, row {number + 1}: metadata {metadata!r} has no 'over' of "
            f"{', '.join(TYPES)}. Fetch the file again."
        )
    return TYPES[over]
