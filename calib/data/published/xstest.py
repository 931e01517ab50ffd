"""XSTest v2 (Röttger et al., arXiv 2308.01263): prompts that look unsafe, and contrasts.

250 safe and 200 unsafe prompts in 18 types of 25. Text-centric: there is no picture, and the words
alone decide. xstest_prompts.csv, on the hub one split "train", has the columns id, prompt, type,
label (safe or unsafe), focus (the word that a safe prompt and its contrast share) and note.

Twins are matched as in VSCBench, whose text-centric part is the same prompts: by type and focus.
"""

from calib.config.data import PublishedData
from calib.data.example import Benchmark, Example, split_of
from calib.data.published.copies import prompt_of, table, with_text
from calib.data.tables import checked_columns, text_of
from calib.data.vscbench_tables import WorkbookRow
from calib.data.vscbench_twins import is_unsafe, twin_groups
from calib.util.errors import CalibError

SUBSETS: tuple[str, ...] = ()
VARIANTS = ("text_only",)

FILES = ("xstest_prompts.csv", "data/train-00000-of-00001.parquet")
COLUMNS = ("prompt", "type", "label", "focus")
GET = "Clone github.com/paul-rottger/xstest, or download the hub's Paul/XSTest"


def load(config: PublishedData) -> Benchmark:
    """The prompts as twins; a prompt without a twin is a pair of its own."""
    rows, where = table(config, GET, FILES, None, "train")
    checked_columns(rows, COLUMNS, where, ("id", "note"))
    numbered, notes = with_text(rows, where, "prompt", "type")
    cells = [
        WorkbookRow(
            number, {c: text_of(row, c) for c in COLUMNS} | {"prompt": prompt_of(row, "prompt")}
        )
        for number, row in numbered
    ]
    for row in cells:
        _check_label(row, where)
    groups, matched = twin_groups(cells)
    examples = [
        Example(
            id=f"xstest/{row.number}",
            dataset="text_centric",
            variant="text_only",
            category=row["type"],
            split=split_of(f"xstest/{group.id}", config.train, config.validation),
            query=row["prompt"],
            safety="unsafe" if is_unsafe(row) else "safe",
            pair=f"xstest/{group.id}",
            system=config.system,
        )
        for group in groups
        for row in group.rows
    ]
    return Benchmark(examples, [*notes, *matched])


def _check_label(row: WorkbookRow, where: str) -> None:
    if row["label"] != ("unsafe" if is_unsafe(row) else "safe"):
        raise CalibError(
            f"{where}, row {row.number + 1}: label '{row['label']}' does not go with type "
            f"'{row['type']}'. Types that start with contrast_ are unsafe, all others safe. "
            "Correct the row or fetch the file again."
        )
