"""VLGuard (Zong et al., arXiv 2402.02207): safe pictures with safe and unsafe instructions, and
unsafe pictures.

Subsets, named as in its evaluation: safe_safes and safe_unsafes are safe pictures with a safe and
an unsafe instruction each, which are twins (text-centric: the words determine safety); unsafes are
unsafe pictures with an instruction (image-centric: the picture determines safety; all unsafe). The
training set has 2,000 pictures (977 safe), the test set 1,000 (558 safe).

Accepted layout: the four files of the hub's ys-zong/VLGuard. train.json and test.json are lists of
rows with id, image (a path), safe (true or false), harmful_category and harmful_subcategory (unsafe
pictures only), and instr-resp, a list of objects with response and one of safe_instruction,
unsafe_instruction, instruction. The pictures are in train.zip and test.zip, which need not be
unpacked, or in the folders train and test. Rows without the instruction of a subset are skipped.

test.json is the test split; the pictures of train.json are divided into train and validation in the
ratio of data.train to data.validation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calib.config.choices import Safety, Split
from calib.config.data import PublishedData
from calib.data.example import Benchmark, Example, Picture
from calib.data.published.copies import Copy, archive_names, archived_picture, copy_or_download
from calib.data.splits import split_of
from calib.data.tables import TableRow, cell_prompt, cell_text, check_columns, read_table
from calib.util.errors import CalibError

SUBSETS = ("safe_safes", "safe_unsafes", "unsafes")
VARIANTS = ("photo",)

COLUMNS = ("id", "image", "safe", "instr-resp")
OPTIONAL = ("harmful_category", "harmful_subcategory")
SOURCE = (
    "Download train.json, test.json, train.zip and test.zip of the hub's ys-zong/VLGuard (log in "
    "with `hf auth login` if required)"
)
PATTERNS = ("train.json", "test.json", "train.zip", "test.zip")


@dataclass(frozen=True)
class _Subset:
    safe_pictures: bool
    instruction_key: str
    """Key of its instruction in the objects of instr-resp."""
    dataset: str
    safety: Safety


_SUBSETS = {
    "safe_safes": _Subset(True, "safe_instruction", "text_centric", "safe"),
    "safe_unsafes": _Subset(True, "unsafe_instruction", "text_centric", "unsafe"),
    "unsafes": _Subset(False, "instruction", "image_centric", "unsafe"),
}


def load(config: PublishedData) -> Benchmark:
    """The instructions of data.subsets; those about the same picture are adjacent."""
    copy = copy_or_download(config, SOURCE, PATTERNS)
    examples: list[Example] = []
    notes: list[str] = []
    parts = ("train", "test") if config.train + config.validation > 0 else ("test",)
    for part in parts:
        path = copy.file(f"{part}.json", f"data/{part}.json")
        rows = read_table(path)
        check_columns(rows, COLUMNS, str(path), OPTIONAL)
        picture = _picture_loader(copy, part)
        skipped = 0
        for number, row in enumerate(rows):
            for subset in config.subsets:
                if row["safe"] is not _SUBSETS[subset].safe_pictures:
                    continue
                key = _SUBSETS[subset].instruction_key
                query = _instruction(row, key, f"{path}, row {number + 1}")
                if query:
                    examples.append(_example(config, part, number, subset, query, row, picture))
                else:
                    skipped += 1
        if skipped:
            notes.append(f"{path}: skipped rows without the instruction of a subset: n={skipped}")
    return Benchmark(examples, notes, frozenset(example.id for example in examples))


def _example(
    config: PublishedData,
    part: str,
    number: int,
    subset_name: str,
    query: str,
    row: TableRow,
    picture: Callable[[str, str], Picture],
) -> Example:
    subset = _SUBSETS[subset_name]
    image = cell_prompt(row, "image")
    pair = f"vlguard/{part}/{image}"
    category = "safe picture" if subset.safe_pictures else cell_text(row, "harmful_category")
    return Example(
        id=f"{part}/{number}/{subset_name}",
        dataset=subset.dataset,
        variant="photo",
        category=category,
        split=_split(config, part, pair),
        query=query,
        picture=picture(image, f"VLGuard {part}.json, row {number + 1}, column 'image'"),
        safety=subset.safety,
        pair=pair,
        system=config.system,
    )


def _split(config: PublishedData, part: str, pair: str) -> Split:
    if part == "test":
        return "test"
    train = config.train / (config.train + config.validation)
    # split_of could return "test" for the remainder that rounding leaves.
    return "train" if split_of(pair, train, 1 - train) == "train" else "validation"


def _instruction(row: TableRow, key: str, where: str) -> str:
    instructions = row["instr-resp"]
    if not isinstance(instructions, list) or not all(isinstance(i, dict) for i in instructions):
        raise CalibError(
            "invalid-content",
            f"{where}: instr-resp is not a list of objects. Download the file again.",
        )
    return next((cell_prompt(i, key) for i in instructions if key in i), "")


def _picture_loader(copy: Copy, part: str) -> Callable[[str, str], Picture]:
    """A function from an image's path and the location of that path to the picture."""
    folder = copy.subfolder(part, f"data/{part}", f"data/VLGuard/{part}")
    if folder is not None:
        return lambda image, where: copy.picture(folder, image, where)
    archive = copy.file(f"{part}.zip", f"data/{part}.zip")
    return lambda image, where: archived_picture(archive, _member(archive, part, image, where))


def _member(archive: Path, part: str, image: str, where: str) -> str:
    """The name of a picture in the archive, with or without a top-level folder."""
    names = archive_names(archive)
    for name in (f"{part}/{image}", image):
        if name in names:
            return name
    raise CalibError(
        "not-found",
        f"{where}: {archive} does not contain {image}. Download both files again. {SOURCE}.",
    )
