"""VLGuard (Zong et al., arXiv 2402.02207): safe and unsafe instructions about safe pictures, and
unsafe pictures.

Three subsets, as its evaluation names them. safe_safes and safe_unsafes: one safe picture with a
safe and with an unsafe instruction, which are twins; text-centric, since the words decide. unsafes:
an unsafe picture with an instruction; image-centric, since the picture decides, and all unsafe.
Training set of 2,000 pictures (977 safe), test set of 1,000 (558 safe).

train.json and test.json are lists of rows with id, image (a path), safe (true or false),
harmful_category and harmful_subcategory (where it is not), and instr-resp: a list of objects with
response and one of safe_instruction, unsafe_instruction, instruction. The pictures lie in train.zip
and test.zip, which calib reads as they are, or in the folders train and test that they unpack to.
The hub's ys-zong/VLGuard has these four files. test.json is the test split; the pictures of
train.json are drawn into train and validation in the ratio of data.train to data.validation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calib.config.data import PublishedData
from calib.data.example import Benchmark, Example, Picture, Safety, Split, split_of
from calib.data.published.copies import Copy, fetched_copy, members, prompt_of, zipped_picture
from calib.data.tables import TableRow, checked_columns, read_table, text_of
from calib.util.errors import CalibError

SUBSETS = ("safe_safes", "safe_unsafes", "unsafes")
VARIANTS = ("photo",)

COLUMNS = ("id", "image", "safe", "instr-resp")
KNOWN = ("harmful_category", "harmful_subcategory")
GET = (
    "Download train.json, test.json, train.zip and test.zip of the hub's ys-zong/VLGuard (log in "
    "with `hf auth login` where it asks for it)"
)
PATTERNS = ("train.json", "test.json", "train.zip", "test.zip")


@dataclass(frozen=True)
class _Subset:
    of_safe_pictures: bool
    key: str
    """Which of the objects in instr-resp it takes."""
    dataset: str
    safety: Safety


_ASKED = {
    "safe_safes": _Subset(True, "safe_instruction", "text_centric", "safe"),
    "safe_unsafes": _Subset(True, "unsafe_instruction", "text_centric", "unsafe"),
    "unsafes": _Subset(False, "instruction", "image_centric", "unsafe"),
}


def load(config: PublishedData) -> Benchmark:
    """The instructions of data.subsets, those about one picture together."""
    copy = fetched_copy(config, GET, PATTERNS)
    examples: list[Example] = []
    notes: list[str] = []
    parts = ("train", "test") if config.train + config.validation > 0 else ("test",)
    for part in parts:
        path = copy.file(f"{part}.json", f"data/{part}.json")
        rows = read_table(path)
        checked_columns(rows, COLUMNS, str(path), KNOWN)
        picture = _pictures(copy, part)
        lacking = 0
        for number, row in enumerate(rows):
            what = f"{path}, row {number + 1}"
            for subset in config.subsets:
                if row["safe"] is not _ASKED[subset].of_safe_pictures:
                    continue
                query = _instruction(row, _ASKED[subset].key, what)
                if query:
                    examples.append(_example(config, part, number, subset, query, row, picture))
                else:
                    lacking += 1
        if lacking:
            notes.append(f"{path}: rows without the instruction of a subset: n={lacking}")
    return Benchmark(examples, notes)


def _example(
    config: PublishedData,
    part: str,
    number: int,
    subset: str,
    query: str,
    row: TableRow,
    picture: Callable[[str, str], Picture],
) -> Example:
    asked = _ASKED[subset]
    image = prompt_of(row, "image")
    pair = f"vlguard/{part}/{image}"
    return Example(
        id=f"{part}/{number}/{subset}",
        dataset=asked.dataset,
        variant="photo",
        category="safe picture" if asked.of_safe_pictures else text_of(row, "harmful_category"),
        split=_split(config, part, pair),
        query=query,
        picture=picture(image, f"VLGuard {part}.json, row {number + 1}, column 'image'"),
        safety=asked.safety,
        pair=pair,
        system=config.system,
    )


def _split(config: PublishedData, part: str, pair: str) -> Split:
    if part == "test":
        return "test"
    train = config.train / (config.train + config.validation)
    # Rounding must not leave a rest, which would be the test split.
    return "train" if split_of(pair, train, 1 - train) == "train" else "validation"


def _instruction(row: TableRow, key: str, what: str) -> str:
    asked = row["instr-resp"]
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        raise CalibError(f"{what}: instr-resp is no list of objects. Fetch the file again.")
    return next((prompt_of(one, key) for one in asked if key in one), "")


def _pictures(copy: Copy, part: str) -> Callable[[str, str], Picture]:
    """How a picture of a part is found: by its name, and by what says where that name stands."""
    folder = copy.subfolder(part, f"data/{part}", f"data/VLGuard/{part}")
    if folder is not None:
        return lambda image, what: copy.picture(folder, image, what)
    archive = copy.file(f"{part}.zip", f"data/{part}.zip")
    return lambda image, what: zipped_picture(archive, _member(archive, part, image, what))


def _member(archive: Path, part: str, image: str, what: str) -> str:
    """The archive's name of a picture, with or without the folder it unpacks to."""
    there = members(archive)
    for name in (f"{part}/{image}", image):
        if name in there:
            return name
    raise CalibError(f"{what}: {archive} holds no {image}. Fetch both files again. {GET}.")
