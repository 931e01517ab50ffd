"""SafeBench of FigStep (Gong et al., arXiv 2311.05608): requests written into a picture.

500 harmful questions, 50 for each of ten topics, and SafeBench-Tiny with 5 for each. Text-centric:
the words decide, only that they stand in the picture. All are unsafe. The repository has
data/question/safebench.csv and SafeBench-Tiny.csv with the columns dataset, category_id, task_id,
category_name, question and instruction (the question as the title of a list), and the pictures
data/images/SafeBench/query_{dataset}_{category_id}_{task_id}_6.png, SafeBench-Tiny alike.

Beside every picture the same query is asked, which says nothing of the request: the question is the
fact "request". Where the folder of pictures is missing calib draws them from the instruction. The
variant text_only asks the question itself.
"""

import hashlib
from functools import partial
from pathlib import Path

from calib.config.data import PublishedData, VscbenchData
from calib.data.example import Benchmark, Example, Picture, split_of
from calib.data.published.copies import Copy, local_copy, prompt_of, with_text
from calib.data.tables import TableRow, checked_columns, read_table, text_of
from calib.data.text_image import render_text
from calib.util.errors import CalibError

SUBSETS = ("SafeBench", "SafeBench-Tiny")
VARIANTS = ("figstep", "text_only")
QUERY = VscbenchData.figstep_query
"""What is asked beside a picture unless data.query says otherwise: our wording."""

FILES = {"SafeBench": "safebench.csv", "SafeBench-Tiny": "SafeBench-Tiny.csv"}
COLUMNS = ("dataset", "category_id", "task_id", "category_name", "question", "instruction")
GET = "Clone github.com/ThuCCSLab/FigStep, which is not on the hub"
SIZE = 448
"""Width and height in pixels of the pictures that calib draws."""


def load(config: PublishedData) -> Benchmark:
    """The requests of data.subsets, as the pictures or as plain text."""
    if config.root is None and config.hub is not None:
        raise CalibError(f"data.hub={config.hub}: {GET}; then name its folder: data.root=FOLDER.")
    copy = local_copy(config, GET)
    assert copy is not None  # no root and no hub was refused
    query = QUERY if config.query is None else config.query
    examples: list[Example] = []
    notes: list[str] = []
    for subset in config.subsets:
        name = FILES[subset]
        path = copy.file(f"data/question/{name}", f"question/{name}", name)
        rows = read_table(path)
        checked_columns(rows, COLUMNS, str(path))
        numbered, dropped = with_text(rows, str(path), "question", "instruction")
        notes += dropped
        images = path.parent.parent / "images" / subset
        drawn = "figstep" in config.variants and not images.is_dir()
        if drawn:
            notes.append(
                f"{subset}: pictures drawn by calib from column 'instruction', since the folder "
                f"{images} is not there: n={len(numbered)}"
            )
        for number, row in numbered:
            what = f"{path}, row {number + 1}"
            for variant in config.variants:
                shown = variant == "figstep"
                examples.append(
                    _example(
                        config,
                        subset,
                        variant,
                        row,
                        query if shown else prompt_of(row, "question"),
                        _picture(copy, None if drawn else images, row, what) if shown else None,
                    )
                )
    return Benchmark(examples, notes)


def _example(
    config: PublishedData,
    subset: str,
    variant: str,
    row: TableRow,
    query: str,
    picture: Picture | None,
) -> Example:
    question = prompt_of(row, "question")
    # By its words: the tiny set repeats questions of the large one.
    pair = f"figstep/{hashlib.sha256(question.encode()).hexdigest()[:16]}"
    return Example(
        id=f"{subset}/{variant}/{text_of(row, 'category_id')}/{text_of(row, 'task_id')}",
        dataset="text_centric",
        variant=variant,
        category=text_of(row, "category_name"),
        split=split_of(pair, config.train, config.validation),
        query=query,
        picture=picture,
        safety="unsafe",
        pair=pair,
        metadata={"request": question},
        system=config.system,
    )


def _picture(copy: Copy, images: Path | None, row: TableRow, what: str) -> Picture:
    if images is None:
        # As the paper has it: the instruction as a title, then the numbers of an empty list.
        return partial(render_text, prompt_of(row, "instruction") + "\n1.\n2.\n3.", size=SIZE)
    number = "_".join(text_of(row, c) for c in ("dataset", "category_id", "task_id"))
    return copy.picture(images, f"query_{number}_6.png", what)
