"""JailbreakBench's JBB-Behaviors (Chao et al., arXiv 2404.01318): harmful and benign requests.

100 harmful and 100 benign behaviours on the same topics, ten in each of ten categories.
Text-centric: there is no picture, and the words determine safety. Rows with the same Index and
Category are twins.

Accepted layout: the hub's JailbreakBench/JBB-Behaviors (configuration behaviors, splits harmful and
benign), or its files data/harmful-behaviors.csv and data/benign-behaviors.csv. Columns: Index, Goal
(the request) and Category; Target, Behavior and Source are not used. Rows without Goal or Index are
skipped.
"""

from calib.config.choices import Safety
from calib.config.data import PublishedData
from calib.data.audit.rows import size_note
from calib.data.example import Benchmark, Example
from calib.data.published.copies import read_subset, rows_with_text
from calib.data.splits import split_of
from calib.data.tables import cell_prompt, cell_text, check_columns

SUBSETS = ("behaviors",)
VARIANTS = ("text_only",)

COLUMNS = ("Index", "Goal", "Category")
OPTIONAL = ("Target", "Behavior", "Source")
ROWS = 100
"""Of each side."""
SOURCE = "Download the hub's JailbreakBench/JBB-Behaviors"
SIDES: dict[str, Safety] = {"benign": "safe", "harmful": "unsafe"}


def load(config: PublishedData) -> Benchmark:
    """The harmful and benign requests, with twins adjacent."""
    groups: dict[str, list[Example]] = {}
    notes: list[str] = []
    for side, safety in SIDES.items():
        names = (f"data/{side}-behaviors.csv", f"{side}-behaviors.csv")
        rows, where = read_subset(config, SOURCE, names, config.subsets[0], side)
        check_columns(rows, COLUMNS, where, OPTIONAL)
        notes += size_note(len(rows), ROWS, where)
        numbered, skipped = rows_with_text(rows, where, "Goal", "Index")
        notes += skipped
        for _, row in numbered:
            index, category = cell_text(row, "Index"), cell_text(row, "Category")
            pair = f"jailbreakbench/{category}/{index}"
            groups.setdefault(pair, []).append(
                Example(
                    id=f"{side}/{index}",
                    dataset="text_centric",
                    variant="text_only",
                    category=category,
                    split=split_of(pair, config.train, config.validation),
                    query=cell_prompt(row, "Goal"),
                    safety=safety,
                    pair=pair,
                    system=config.system,
                )
            )
    if unpaired := sum(len(members) == 1 for members in groups.values()):
        notes.append(f"jailbreakbench: rows without a twin (same Index and Category): n={unpaired}")
    return Benchmark([example for members in groups.values() for example in members], notes)
