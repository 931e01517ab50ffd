"""Write the model card of a mini model from the figures of evaluate.py.

    python -m experiments.mini_internvl.card [recipe=first] [checkpoint=FOLDER] [figures=FILE.csv]

Fills the template of the model in this folder with the figures (figures.csv, or figures_2.csv for
the second), and writes README.md of the checkpoint's folder: by default that of the packaged
model of the recipe.
"""

import csv
from pathlib import Path

from calib.models.load import mini_folder
from experiments import command

HERE = Path(__file__).parent
FILES = {
    "first": (HERE / "card_template.md", HERE / "figures.csv", mini_folder()),
    "second": (
        HERE / "card_template_2.md",
        HERE / "figures_2.csv",
        mini_folder("mini-internvl-2"),
    ),
}
"""By recipe: template, figures and checkpoint."""


def main(template: Path, figures: Path, checkpoint: Path) -> None:
    """Fill in the template and write the card."""
    with figures.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = ["| figure | value | 95% interval | n (clusters) |", "|---|---|---|---|"]
    for row in rows:
        numbers = [float(row[key]) for key in ("value", "low", "high")]
        count = f"{row['n']} ({row['clusters']})"
        name = row["figure"].replace(" | ", ", ")
        lines.append(
            f"| {name} | {numbers[0]:.3f} | {numbers[1]:.3f} to {numbers[2]:.3f} | {count} |"
        )
    text = template.read_text(encoding="utf-8").format(
        vocabulary=vocabulary(checkpoint),
        fingerprint=f"fingerprint {rows[0]['fingerprint']}",
        table="\n".join(lines) + "\n",
    )
    (checkpoint / "README.md").write_text(text, encoding="utf-8")


def vocabulary(checkpoint: Path) -> int:
    """Number of tokens of the tokenizer."""
    from transformers import AutoTokenizer

    return len(AutoTokenizer.from_pretrained(checkpoint))


def write(recipe: str = "first", checkpoint: Path | None = None, figures: Path | None = None):
    """Write the card of a recipe's model, by default with the files of FILES."""
    template, kept, packaged = FILES[recipe]
    main(template, figures or kept, checkpoint or packaged)


if __name__ == "__main__":
    command.run(
        write, __doc__, recipe=command.one_of(*FILES), checkpoint=command.path, figures=command.path
    )
