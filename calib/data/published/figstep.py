"""FigStep's SafeBench (Gong et al., arXiv 2311.05608): harmful requests written into a picture.

500 harmful questions, 50 for each of ten topics; SafeBench-Tiny has 5 for each. Text-centric: the
words, which are in the picture, determine safety. All examples are unsafe.

Accepted layout: a clone of the repository, with data/question/safebench.csv and SafeBench-Tiny.csv
(columns dataset, category_id, task_id, category_name, question, and instruction, which is the
question as the title of a list), and the pictures
data/images/{SafeBench,SafeBench-Tiny}/query_{dataset}_{category_id}_{task_id}_6.png. If the folder
of pictures is missing, calib draws them from the instructions. Rows without question or instruction
are skipped.

The query is the same for every picture and does not reveal the request; judges find the question in
metadata["request"]. The variant text_only uses the question as the query, without a picture.
"""

import hashlib
from functools import partial
from pathlib import Path

from calib.config.data import PublishedData, VscbenchData
from calib.data.audit.rows import size_note
from calib.data.example import Benchmark, Example, Picture
from calib.data.published.copies import Copy, local_copy, rows_with_text
from calib.data.splits import split_of
from calib.data.tables import TableRow, cell_prompt, cell_text, check_columns, read_table
from calib.data.text_image import render_text
from calib.util.errors import CalibError

SUBSETS = ("SafeBench", "SafeBench-Tiny")
VARIANTS = ("figstep", "text_only")
QUERY = VscbenchData.figstep_query
"""Query for every picture unless data.query replaces it; the wording is ours."""

FILES = {"SafeBench": "safebench.csv", "SafeBench-Tiny": "SafeBench-Tiny.csv"}
ROWS = {"SafeBench": 500, "SafeBench-Tiny": 50}
COLUMNS = ("dataset", "category_id", "task_id", "category_name", "question", "instruction")
SOURCE = "Clone github.com/ThuCCSLab/FigStep, which is not on the hub"
SIZE = 448
"""Width and height of drawn pictures, in pixels."""


def load(config: PublishedData) -> Benchmark:
    """The requests in data.subsets, as pictures or as plain text."""
    if config.root is None and config.hub is not None:
        raise CalibError(
            "unsupported",
            f"data.hub={config.hub}: {SOURCE}; then give its folder: data.root=FOLDER.",
        )
    copy = local_copy(config, SOURCE)
    assert copy is not None  # local_copy has raised an error if neither root nor hub is given
    query = QUERY if config.query is None else config.query
    examples: list[Example] = []
    notes: list[str] = []
    for subset in config.subsets:
        name = FILES[subset]
        path = copy.file(f"data/question/{name}", f"question/{name}", name)
        rows = read_table(path)
        check_columns(rows, COLUMNS, str(path))
        notes += size_note(len(rows), ROWS[subset], str(path))
        numbered, skipped = rows_with_text(rows, str(path), "question", "instruction")
        notes += skipped
        folder = path.parent.parent / "images" / subset
        drawn = "figstep" in config.variants and not folder.is_dir()
        if drawn:
            notes.append(
                f"{subset}: pictures drawn by calib from column 'instruction', because the folder "
                f"{folder} does not exist: n={len(numbered)}"
            )
        for number, row in numbered:
            where = f"{path}, row {number + 1}"
            for variant in config.variants:
                picture = None
                if variant == "figstep":
                    picture = _picture(copy, None if drawn else folder, row, where)
                text = query if variant == "figstep" else cell_prompt(row, "question")
                examples.append(_example(config, subset, variant, row, text, picture))
    return Benchmark(examples, notes)


def _example(
    config: PublishedData,
    subset: str,
    variant: str,
    row: TableRow,
    query: str,
    picture: Picture | None,
) -> Example:
    question = cell_prompt(row, "question")
    # Pairs are identified by the question, because SafeBench-Tiny repeats questions of SafeBench.
    pair = f"figstep/{hashlib.sha256(question.encode()).hexdigest()[:16]}"
    return Example(
        id=f"{subset}/{variant}/{cell_text(row, 'category_id')}/{cell_text(row, 'task_id')}",
        dataset="text_centric",
        variant=variant,
        category=cell_text(row, "category_name"),
        split=split_of(pair, config.train, config.validation),
        query=query,
        picture=picture,
        safety="unsafe",
        pair=pair,
        metadata={"request": question},
        system=config.system,
    )


def _picture(copy: Copy, folder: Path | None, row: TableRow, where: str) -> Picture:
    if folder is None:
        # As in the paper: the instruction as a title, followed by the numbers of an empty list.
        return partial(render_text, cell_prompt(row, "instruction") + "\n1.\n2.\n3.", size=SIZE)
    number = "_".join(cell_text(row, c) for c in ("dataset", "category_id", "task_id"))
    return copy.picture(folder, f"query_{number}_6.png", where)
