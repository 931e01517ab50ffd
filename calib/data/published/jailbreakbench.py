"""JBB-Behaviors of JailbreakBench (Chao et al., arXiv 2404.01318): harmful and benign requests.

100 harmful and 100 benign behaviours on the same topics, in ten categories of ten. Text-centric:
there is no picture, and the words alone decide. The hub's JailbreakBench/JBB-Behaviors has the
configuration behaviors with the splits harmful and benign, which are data/harmful-behaviors.csv and
data/benign-behaviors.csv with the columns Index, Goal (the request), Target, Behavior, Category and
Source. Rows with one Index and one Category are twins.
"""

from calib.config.data import PublishedData
from calib.data.example import Benchmark, Example, Safety, split_of
from calib.data.published.copies import prompt_of, table, with_text
from calib.data.tables import checked_columns, text_of

SUBSETS = ("behaviors",)
VARIANTS = ("text_only",)

COLUMNS = ("Index", "Goal", "Category")
KNOWN = ("Target", "Behavior", "Source")
GET = "Download the hub's JailbreakBench/JBB-Behaviors"
SIDES: dict[str, Safety] = {"benign": "safe", "harmful": "unsafe"}


def load(config: PublishedData) -> Benchmark:
    """Both sides of the behaviours, twins together."""
    groups: dict[str, list[Example]] = {}
    notes: list[str] = []
    for side, safety in SIDES.items():
        names = (f"data/{side}-behaviors.csv", f"{side}-behaviors.csv")
        rows, where = table(config, GET, names, config.subsets[0], side)
        checked_columns(rows, COLUMNS, where, KNOWN)
        numbered, dropped = with_text(rows, where, "Goal", "Index")
        notes += dropped
        for _, row in numbered:
            index, category = text_of(row, "Index"), text_of(row, "Category")
            pair = f"jailbreakbench/{category}/{index}"
            groups.setdefault(pair, []).append(
                Example(
                    id=f"{side}/{index}",
                    dataset="text_centric",
                    variant="text_only",
                    category=category,
                    split=split_of(pair, config.train, config.validation),
                    query=prompt_of(row, "Goal"),
                    safety=safety,
                    pair=pair,
                    system=config.system,
                )
            )
    if alone := sum(len(members) == 1 for members in groups.values()):
        notes.append(f"jailbreakbench: rows whose Index and Category have no twin: n={alone}")
    return Benchmark([example for members in groups.values() for example in members], notes)
