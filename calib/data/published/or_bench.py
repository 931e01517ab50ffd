"""OR-Bench (Cui et al., arXiv 2405.20947): safe prompts that seem toxic, and toxic prompts.

Text-centric: there is no picture, and the words determine safety. The subsets or-bench-80k and
or-bench-hard-1k (its hard part) are safe, or-bench-toxic is unsafe. Prompts are not matched: no
safe prompt has an unsafe twin. A prompt in several subsets is one pair, so that its copies share a
split.

Accepted layout: the hub's bench-llm/or-bench, which has a configuration per subset with the split
train, or its CSV files, each named after its subset. Columns: prompt and category (ten categories).
Rows without a prompt are skipped.
"""

import hashlib

from calib.config.data import PublishedData
from calib.data.audit.rows import size_note
from calib.data.example import Benchmark, Example
from calib.data.published.copies import read_subset, rows_with_text
from calib.data.splits import split_of
from calib.data.tables import cell_prompt, cell_text, check_columns

SUBSETS = ("or-bench-80k", "or-bench-hard-1k", "or-bench-toxic")
VARIANTS = ("text_only",)

UNSAFE = ("or-bench-toxic",)
COLUMNS = ("prompt", "category")
ROWS = {"or-bench-hard-1k": 1319, "or-bench-toxic": 655}
SOURCE = "Download the hub's bench-llm/or-bench"


def load(config: PublishedData) -> Benchmark:
    """The prompts of data.subsets."""
    examples: list[Example] = []
    notes: list[str] = []
    for subset in config.subsets:
        rows, where = read_subset(config, SOURCE, (f"{subset}.csv",), subset, "train")
        check_columns(rows, COLUMNS, where)
        notes += size_note(len(rows), ROWS.get(subset), where)
        numbered, skipped = rows_with_text(rows, where, "prompt")
        notes += skipped
        for number, row in numbered:
            query = cell_prompt(row, "prompt")
            pair = f"or_bench/{hashlib.sha256(query.encode()).hexdigest()[:16]}"
            examples.append(
                Example(
                    id=f"{subset}/{number}",
                    dataset="text_centric",
                    variant="text_only",
                    category=cell_text(row, "category"),
                    split=split_of(pair, config.train, config.validation),
                    query=query,
                    safety="unsafe" if subset in UNSAFE else "safe",
                    pair=pair,
                    system=config.system,
                )
            )
    return Benchmark(examples, notes)
