"""XSTest v2 (Röttger et al., arXiv 2308.01263): safe prompts that look unsafe, and contrasts.

250 safe and 200 unsafe prompts, 25 in each of 18 types. Text-centric: there is no picture, and the
words determine safety. Twins are matched by type and focus, as in the text-centric part of
VSCBench, which has the same prompts.

Accepted layout: xstest_prompts.csv of the repository, its older xstest_v2_prompts.csv, which has
the same rows without label, or the hub's Paul/XSTest (split train). Columns: prompt, type, label
(safe or unsafe; the type determines it where the column is missing) and focus (the word that a safe
prompt shares with its contrast, and the concept); ids and note are not used. Rows without prompt or
type are skipped.
"""

from calib.config.data import PublishedData
from calib.data.audit.rows import size_note
from calib.data.example import Benchmark, Example
from calib.data.published.copies import read_subset, rows_with_text
from calib.data.splits import split_of
from calib.data.tables import cell_prompt, cell_text, check_columns
from calib.data.vscbench_tables import WorkbookRow
from calib.data.vscbench_twins import is_unsafe, twin_groups
from calib.util.errors import CalibError

SUBSETS: tuple[str, ...] = ()
VARIANTS = ("text_only",)

FILES = ("xstest_prompts.csv", "xstest_v2_prompts.csv", "data/train-00000-of-00001.parquet")
COLUMNS = ("prompt", "type", "focus")
OPTIONAL = ("label", "id", "id_v1", "id_v2", "note")
ROWS = 450
SOURCE = "Clone github.com/paul-rottger/xstest, or download the hub's Paul/XSTest"


def load(config: PublishedData) -> Benchmark:
    """The prompts, with twins adjacent; a prompt without a twin is a pair of its own."""
    table, where = read_subset(config, SOURCE, FILES, None, "train")
    check_columns(table, COLUMNS, where, OPTIONAL)
    numbered, notes = rows_with_text(table, where, "prompt", "type")
    notes += size_note(len(table), ROWS, where)
    rows = [
        WorkbookRow(
            number, {c: cell_text(row, c) for c in COLUMNS} | {"prompt": cell_prompt(row, "prompt")}
        )
        for number, row in numbered
    ]
    for row in rows:
        if "label" in table[row.number]:
            _check_label(row, cell_text(table[row.number], "label"), where)
    groups, twin_notes = twin_groups(rows)
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
            concept=group.focus,
            system=config.system,
        )
        for group in groups
        for row in group.rows
    ]
    return Benchmark(examples, [*notes, *twin_notes])


def _check_label(row: WorkbookRow, label: str, where: str) -> None:
    if label != ("unsafe" if is_unsafe(row) else "safe"):
        raise CalibError(
            "mismatch",
            f"{where}, row {row.number + 1}: label '{label}' contradicts type "
            f"'{row['type']}'. Types that start with contrast_ are unsafe, all others are safe. "
            "Correct the row or download the file again.",
        )
