"""VLGuard (Zong et al., arXiv 2402.02207): safe pictures with safe and unsafe instructions, and
unsafe pictures.

Subsets, named as in its evaluation: safe_safes and safe_unsafes are safe pictures with a safe and
an unsafe instruction each, which are twins (text-centric: the words determine safety); unsafes are
unsafe pictures with an instruction (image-centric: the picture determines safety; all unsafe). The
training set has 2,000 pictures (977 safe), the test set 1,000 (558 safe).

Accepted layout: the four files of the hub's ys-zong/VLGuard. train.json and test.json are lists of
rows with id, image (a path), safe (true or false, also as text), harmful_category and
harmful_subcategory (unsafe pictures only), and instr-resp, a list of objects with response and one
of safe_instruction, unsafe_instruction, instruction. The pictures are in train.zip and test.zip,
which need not be unpacked, or in the folders train and test. Rows without the instruction of a
subset are skipped.

test.json is the test split; the pictures of train.json are divided into train and validation in the
ratio of data.train to data.validation. Eight pictures are in both files, one of them with another
label: the rows of train.json about them join the test split. Pictures are compared byte for byte,
whatever their names are. In a local copy without train.json, the pictures of test.json are divided
into all three splits.
"""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass

from calib.config.choices import Safety, Split
from calib.config.data import PublishedData
from calib.data.example import Benchmark, Example
from calib.data.published.copies import Copy, copy_or_download
from calib.data.published.vlguard_rows import PictureRow, first_rows, read_part, table_names
from calib.data.splits import split_of

SUBSETS = ("safe_safes", "safe_unsafes", "unsafes")
VARIANTS = ("photo",)

SOURCE = (
    "Download train.json, test.json, train.zip and test.zip of the hub's ys-zong/VLGuard (log in "
    "with `hf auth login` if required)"
)


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
    parts = ["train", "test"] if config.train + config.validation > 0 else ["test"]
    copy = copy_or_download(
        config, SOURCE, [f"{part}.{ending}" for ending in ("json", "zip") for part in parts]
    )
    test_only = parts == ["test"] or not _has_train(copy)
    rows: list[PictureRow] = []
    notes: list[str] = []
    for part in ["test"] if test_only else parts:
        of_part, of_table = read_part(copy, part)
        rows += of_part
        notes += of_table
    firsts = first_rows(rows)
    notes += _moved(rows, firsts)
    if test_only and len(parts) > 1:
        notes.append(
            f"vlguard: {copy.folder} has no train.json: the pictures of test.json are divided into "
            "train, validation and test, so results are not those of the whole test set"
        )
    both_labels = {
        _pair(first) for row, first in zip(rows, firsts, strict=True) if row.safe != first.safe
    }
    examples: list[Example] = []
    skipped: Counter[str] = Counter()
    for row, first in zip(rows, firsts, strict=True):
        split = _split(config, first, test_only)
        for name in config.subsets:
            subset = _SUBSETS[name]
            if row.safe is not subset.safe_pictures:
                continue
            if query := row.instruction(subset.instruction_key):
                examples.append(_example(config, row, first, name, query, split, both_labels))
            else:
                skipped[row.part] += 1
    notes += [
        f"vlguard, {part}.json: skipped rows without the instruction of a subset: n={count}"
        for part, count in skipped.items()
    ]
    given = () if test_only and len(parts) > 1 else (example.id for example in examples)
    return Benchmark(examples, notes, frozenset(given))


def _example(
    config: PublishedData,
    row: PictureRow,
    first: PictureRow,
    name: str,
    query: str,
    split: Split,
    both_labels: Set[str],
) -> Example:
    subset, pair = _SUBSETS[name], _pair(first)
    return Example(
        id=f"{row.part}/{row.number}/{name}",
        dataset=subset.dataset,
        variant="photo",
        category="safe picture" if subset.safe_pictures else row.category,
        split=split,
        query=query,
        picture=row.picture,
        safety=subset.safety,
        # A picture with both labels is one cluster, but its instructions are twins only within the
        # rows of one label.
        pair=pair if row.safe == first.safe else f"{pair}/{row.part}",
        concept=pair if pair in both_labels else None,
        system=config.system,
    )


def _pair(first: PictureRow) -> str:
    return f"vlguard/{first.part}/{first.image}"


def _split(config: PublishedData, first: PictureRow, test_only: bool) -> Split:
    if test_only:
        return split_of(_pair(first), config.train, config.validation)
    if first.part == "test":
        return "test"
    train = config.train / (config.train + config.validation)
    # split_of could return "test" for the remainder that rounding leaves.
    return "train" if split_of(_pair(first), train, 1 - train) == "train" else "validation"


def _has_train(copy: Copy) -> bool:
    return any((copy.folder / name).is_file() for name in table_names("train"))


def _moved(rows: Sequence[PictureRow], firsts: Sequence[PictureRow]) -> list[str]:
    """A note on the rows of train.json whose picture is in test.json."""
    moved = [
        (row, first)
        for row, first in zip(rows, firsts, strict=True)
        if row.part == "train" and first.part == "test"
    ]
    if not moved:
        return []
    differing = sum(row.safe != first.safe for row, first in moved)
    labels = f"; {differing} of them with another label there" if differing else ""
    return [
        "vlguard: rows of train.json whose picture is also in test.json, and which therefore join "
        f"the test split: n={len(moved)}{labels} (first: {moved[0][0].image})"
    ]
