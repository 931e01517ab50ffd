"""Write the model card of mini-internvl from the figures of evaluate.py.

    python -m experiments.mini_internvl.card

Fills card_template.md with figures.csv, both in this folder, and writes
calib/models/mini_internvl/README.md.
"""

import csv
from pathlib import Path

from calib.models.load import mini_folder

FIGURES = Path(__file__).parent / "figures.csv"

TEMPLATE = Path(__file__).parent / "card_template.md"


def main() -> None:
    """Fill in the template and write the card."""
    with FIGURES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = ["| figure | value | 95% interval | n (clusters) |", "|---|---|---|---|"]
    for row in rows:
        numbers = [float(row[key]) for key in ("value", "low", "high")]
        count = f"{row['n']} ({row['clusters']})"
        name = row["figure"].replace(" | ", ", ")
        lines.append(
            f"| {name} | {numbers[0]:.3f} | {numbers[1]:.3f} to {numbers[2]:.3f} | {count} |"
        )
    text = TEMPLATE.read_text(encoding="utf-8").format(
        vocabulary=vocabulary(),
        fingerprint=f"fingerprint {rows[0]['fingerprint']}",
        table="\n".join(lines) + "\n",
    )
    (mini_folder() / "README.md").write_text(text, encoding="utf-8")


def vocabulary() -> int:
    """Number of tokens of the tokenizer."""
    from transformers import AutoTokenizer

    return len(AutoTokenizer.from_pretrained(mini_folder()))


if __name__ == "__main__":
    main()
