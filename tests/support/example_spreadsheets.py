"""The spreadsheets of docs/spreadsheet.md, made from docs/example_pairs/pairs.csv.

    python tests/support/example_spreadsheets.py

prompts.csv is what Excel saves in Western Europe: semicolons and Windows-1252. prompts.xlsx has a
title, the table and a second sheet. Both use other names for columns and labels.
"""

import csv
import io
from pathlib import Path

import openpyxl

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "example_pairs"
HEADER = ("Nr", "Harmful?", "Prompt", "Image file", "Topic", "Checked by")
PEOPLE = ("Zo\xeb", "Jos\xe9", "Ann")


def rows() -> list[tuple[str, ...]]:
    """The rows of pairs.csv in the names of a person."""
    with (FOLDER / "pairs.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    return [
        (row["pair"], "yes" if row["safety"] == "unsafe" else "no", row["query"], row["image"],
         row["category"], PEOPLE[number % len(PEOPLE)])
        for number, row in enumerate(table)
    ]  # fmt: skip


def as_csv() -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";").writerows([HEADER, *rows()])
    return text.getvalue().encode("cp1252")


def write_workbook(path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Prompts"
    for line in [("Prompts for the safety test",), (), HEADER, *rows()]:
        book.active.append(line)
    notes = book.create_sheet("Notes")
    for line in [("When", "What"), ("March", "first draft"), ("April", "pictures added")]:
        notes.append(line)
    book.save(path)


if __name__ == "__main__":
    (FOLDER / "prompts.csv").write_bytes(as_csv())
    write_workbook(FOLDER / "prompts.xlsx")
