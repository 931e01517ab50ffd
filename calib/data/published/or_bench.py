"""OR-Bench (Cui et al., arXiv 2405.20947): prompts that seem toxic and are safe, and toxic ones.

Text-centric: there is no picture, and the words alone decide. The hub's bench-llm/or-bench has
three configurations of one split "train", each a CSV file of its name with the columns prompt and
category (ten categories): or-bench-80k and its hard part or-bench-hard-1k are safe, or-bench-toxic
is unsafe. They are not matched: no safe prompt has an unsafe twin. The same prompt in two
configurations is one pair, so that it is in one split.
"""

import hashlib
from collections import Counter

from calib.config.data import PublishedData
from calib.data.example import Benchmark, Example, split_of
from calib.data.published.copies import prompt_of, table, with_text
from calib.data.tables import checked_columns, text_of

SUBSETS = ("or-bench-80k", "or-bench-hard-1k", "or-bench-toxic")
VARIANTS = ("text_only",)

UNSAFE = ("or-bench-toxic",)
COLUMNS = ("prompt", "category")
GET = "Download the hub's bench-llm/or-bench"


def load(config: PublishedData) -> Benchmark:
    """The prompts of the configurations that data.subsets names."""
    examples, notes = [], []
    for subset in config.subsets:
        rows, where = table(config, GET, (f"{subset}.csv",), subset, "train")
        checked_columns(rows, COLUMNS, where)
        numbered, dropped = with_text(rows, where, "prompt")
        notes += dropped
        for number, row in numbered:
            query = prompt_of(row, "prompt")
            pair = f"or_bench/{hashlib.sha256(query.encode()).hexdigest()[:16]}"
            examples.append(
                Example(
                    id=f"{subset}/{number}",
                    dataset="text_centric",
                    variant="text_only",
                    category=text_of(row, "category"),
                    split=split_of(pair, config.train, config.validation),
                    query=query,
                    safety="unsafe" if subset in UNSAFE else "safe",
                    pair=pair,
                    system=config.system,
                )
            )
    # Twice safe, or safe here and toxic there: either way not two prompts.
    uses = Counter(example.pair for example in examples)
    if repeated := sum(count > 1 for count in uses.values()):
        notes.append(f"or_bench: prompts that stand in more than one row: n={repeated}")
    return Benchmark(examples, notes)
