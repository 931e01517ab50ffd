"""VLMEvalKit's tables (Duan et al., arXiv 2407.11691): one TSV per set, with pictures as base64.

Columns, in upper or lower case: index, question, answer, image; options in A, B, C ...; and, by
set, hint, category, l2-category, split, image_path. A cell ``image`` holds a picture in base64, the
index of another row with the same picture (64 characters or fewer, as in their code), or a list of
pictures. Without it, image_path names files below the table's folder. Rows of another split than
``utility.split`` are skipped where the table has a column split, and so are ScienceQA's rows
without a picture, rows with several pictures, without options (MMMU's open questions), or whose
answer is not an option. Other rows without a picture, and rows without a question, are refused.

POPE's rows list the categories that a question occurs in ("random,popular"): each is a question, so
that their number is that of the original. Prompts are those of the hub's tables (docs/utility.md),
not VLMEvalKit's.
"""

import ast
import hashlib
from collections.abc import Mapping
from pathlib import Path
from string import ascii_uppercase

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.data.images import PictureBytes, PictureFile, picture_from_cell
from calib.data.tables import cell_prompt, cell_text, check_columns, read_table
from calib.data.utility import mme, mmmu, mmstar, pope, scienceqa
from calib.data.utility.question import (
    NO_PICTURE,
    NOT_YES_NO,
    UNKNOWN_ANSWER,
    YES_NO,
    Questions,
    choice_metadata,
    format_options,
    parse_yes_no,
)
from calib.util.errors import CalibError, did_you_mean
from calib.util.files import home_expanded
from calib.util.reading import regular

OWN_COLUMN = {
    "mme": "question_id",
    "pope": "question_id",
    "scienceqa": "choices",
    "mmmu": "options",
    "mmstar": "l2_category",
}
"""A column of the hub's table of each set that VLMEvalKit's does not have, unless it has the
options in columns A, B ..., which no hub's table has."""
LONGEST_INDEX = 64
MAX_HEADER = 4096
_PUBLISHED = {
    "mme": mme.published,
    "pope": pope.published,
    "scienceqa": scienceqa.published,
    "mmmu": mmmu.published,
    "mmstar": mmstar.published,
}
_SPLITS = {"val": "validation", "dev": "dev"}
_SEVERAL = "they have several pictures"


def find(config: PublishedUtility) -> Path | None:
    """VLMEvalKit's table of a set at ``utility.root``, a file or a folder such as its LMUData; None
    if there is none.

    In a folder without parquet files the table is named after the set (MMStar.tsv,
    MMMU_DEV_VAL.tsv, ScienceQA_TEST.tsv).
    Raises CalibError if several tables could be meant.
    """
    if config.root is None or config.name not in OWN_COLUMN:
        return None
    root = home_expanded(config.root)
    if any(
        path for name in ("", "data", *config.subsets) for path in (root / name).glob("*.parquet")
    ):
        return None  # a copy of the hub's repository
    paths = sorted(root.glob("*.[tT][sS][vV]")) if root.is_dir() else [root]
    if root.is_dir():
        names = {path: path.stem.casefold().split("_") for path in paths}
        paths = [path for path in paths if names[path][0] == config.name]
        if len(paths) > 1:
            split = config.split.casefold()
            paths = [p for p in paths if split in names[p] or split[:3] in names[p]] or paths
    tables = [path for path in paths if path.suffix.lower() == ".tsv" and _is_layout(config, path)]
    if len(tables) > 1:
        raise CalibError(
            "invalid-setting",
            f"utility.root={config.root} has several tables of {config.name}: "
            f"{', '.join(path.name for path in tables)}. Give one: utility.root=FILE.",
        )
    return tables[0] if tables else None


def load(config: PublishedUtility, system: str | None, path: Path) -> Benchmark:
    """The questions of VLMEvalKit's table, in its order.

    Raises CalibError for a table that cannot be read, lacks a column or has one twice, for an
    unknown subtask of MME, and for a picture that refers to a row that does not exist or has none.
    """
    rows = read_table(path)
    table = [{_name(column): cell for column, cell in row.items()} for row in rows]
    if rows and len(table[0]) < len(rows[0]):
        raise CalibError(
            "duplicate",
            f"{path} has columns that differ only in upper and lower case: {', '.join(rows[0])}. "
            "Remove one of them.",
        )
    check_columns(table, ("index", "question", "answer"), str(path))
    if not {"image", "image_path"} & set(table[0]):
        check_columns(table, ("image",), str(path))
    pictures = _Pictures(table, path)
    questions = Questions(config, system)
    for number, row in enumerate(table, start=1):
        split = cell_text(row, "split").casefold()
        if split and _SPLITS.get(split, split) != _SPLITS.get(config.split, config.split):
            reason = f"they are in split '{split}' and utility.split={config.split}"
            questions.skip(reason, outside=True)
            continue
        picture, question = pictures.of(number), cell_prompt(row, "question")
        if picture == NO_PICTURE and config.name == "scienceqa":
            questions.skip(NO_PICTURE, outside=True)
        elif not question or picture == NO_PICTURE:
            questions.skip_incomplete(question, f"{path}, row {number}")
        elif isinstance(picture, str):
            questions.skip(picture)
        elif config.name in ("mme", "pope"):
            _add_yes_no(questions, row, picture, pictures.identity(number), f"{path}, row {number}")
        else:
            _add_choice(questions, row, picture)
    return questions.benchmark(_PUBLISHED[config.name](config))


def _is_layout(config: PublishedUtility, path: Path) -> bool:
    try:
        with regular(path).open(encoding="utf-8-sig", errors="replace") as file:
            columns = [name.strip() for name in file.readline(MAX_HEADER).split("\t")]
    except OSError:
        return False
    if "index" not in map(str.lower, columns):
        return False
    return OWN_COLUMN[config.name] not in columns or {"A", "B"} <= {*map(str.upper, columns)}


def _name(column: str) -> str:
    """Options are A, B, ...; other columns are in lower case, and l2-category is l2_category."""
    return column.upper() if len(column) == 1 else column.lower().replace("-", "_")


class _Pictures:
    """The pictures of a table, each kept once however many rows show it."""

    def __init__(self, table: list[dict[str, str]], path: Path) -> None:
        self.table, self.path = table, path
        self.rows = {cell_text(row, "index"): k for k, row in enumerate(table, start=1)}
        self.opened: dict[str, PictureFile | PictureBytes] = {}

    def of(self, number: int) -> PictureFile | PictureBytes | str:
        """The picture of a row (counted from 1), or the reason why the row cannot be asked."""
        cells = self._cells(number)
        if len(cells) != 1:
            return _SEVERAL if cells else NO_PICTURE
        identity = self.identity(number)
        if identity not in self.opened:
            where = f"{self.path}, row {number}, column 'image'"
            picture = picture_from_cell(cells[0], self.path.parent, where)
            if picture is None:
                return NO_PICTURE
            self.opened[identity] = picture
        return self.opened[identity]

    def identity(self, number: int) -> str:
        """The same text for rows that show the same picture."""
        named = cell_prompt(self.table[number - 1], "image_path")
        return named or hashlib.sha256("".join(self._cells(number)).encode()).hexdigest()[:16]

    def _cells(self, number: int) -> list[str]:
        row = self.table[number - 1]
        cell = cell_prompt(row, "image")
        if not cell:
            return _listed(cell_prompt(row, "image_path"))
        if len(cell) > LONGEST_INDEX:
            return _listed(cell)
        target = self.rows.get(cell)
        there = "" if target is None else cell_prompt(self.table[target - 1], "image")
        if len(there) <= LONGEST_INDEX:
            problem = "does not exist" if target is None else "has no picture itself"
            raise CalibError(
                "invalid-value",
                f"{self.path}, row {number}: column 'image' refers to the row with index {cell}, "
                f"which {problem}. Download the table again.",
            )
        return _listed(there)


def _listed(cell: str) -> list[str]:
    """The pictures in a cell that holds one, or a list of them written as text."""
    if not cell.startswith("["):
        return [cell] if cell else []
    try:
        cells = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [cell]  # not a list: picture_from_cell names the problem
    return [str(each) for each in cells]


def _add_yes_no(
    questions: Questions,
    row: Mapping[str, str],
    picture: PictureFile | PictureBytes,
    identity: str,
    where: str,
) -> None:
    answer = parse_yes_no(row["answer"])
    if answer is None:
        questions.skip(NOT_YES_NO)
        return
    question, prompt = cell_prompt(row, "question"), questions.config.prompt
    is_mme = questions.config.name == "mme"
    if is_mme and prompt:
        question = question.removesuffix(mme.INSTRUCTION).rstrip()
    stated = cell_text(row, "category")
    for category in [stated] if is_mme else stated.replace(" ", "").split(","):
        if is_mme and category not in mme.SUBTASKS:
            raise CalibError(
                "invalid-value",
                f"{where}: MME has no subtask '{category}'."
                f"{did_you_mean(category, mme.SUBTASKS)} Its subtasks are "
                f"{', '.join(mme.SUBTASKS)}.",
            )
        questions.add(
            key=f"{category}/{cell_text(row, 'index')}",
            variant=category or "none",
            category=mme.SUBTASKS[category] if is_mme else category or "none",
            question=question,
            answer=answer,
            metadata=YES_NO,
            picture=picture,
            pair=f"{category}/{identity}" if is_mme else identity,
        )


def _add_choice(
    questions: Questions, row: Mapping[str, str], picture: PictureFile | PictureBytes
) -> None:
    options = {letter: text for letter in ascii_uppercase if (text := cell_prompt(row, letter))}
    answer = cell_prompt(row, "answer").upper()
    name, question = questions.config.name, cell_prompt(row, "question")
    variant = cell_text(row, "category") or "none"
    category = cell_text(row, "l2_category") or variant
    shown = format_options(options)
    if name == "mmmu":
        subjects = [text.replace(" ", "_") for text in (variant, category)]
        variant = next((text for text in subjects if text in mmmu.SUBJECTS), variant)
        category = mmmu.SUBJECTS.get(variant, category)
        if questions.config.subsets and variant not in questions.config.subsets:
            reason = f"their subject ({variant}) is not in utility.subsets"
            questions.skip(reason, outside=True)
            return
        question = question.removeprefix("<image 1>").removesuffix("<image 1>").strip()
    elif name == "mmstar" and any((written := mmstar.find_options(question)).values()):
        options, shown = options or written, ""  # the question includes its options
    if len(options) < 2:
        questions.skip("they have fewer than two options")
    elif answer not in options:
        questions.skip(UNKNOWN_ANSWER)
    else:
        hint = cell_prompt(row, "hint")
        parts = [f"Context: {hint}" if hint else "", question, shown]
        questions.add(
            key=cell_text(row, "index"),
            variant=variant,
            category=category,
            question="\n".join(filter(None, parts)),
            answer=answer,
            metadata=choice_metadata(options),
            picture=picture,
        )
