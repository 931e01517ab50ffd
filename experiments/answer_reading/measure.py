"""Measure how calib reads the multiple-choice answers of published responses.

    python -m experiments.answer_reading.measure FOLDER > experiments/answer_reading/results.csv

FOLDER holds the files of MMMU-Benchmark/MMMU (arXiv 2409.02813), mmmu-pro/output: 1,730 responses
of GPT-4o to each of four prompts, with options and correct letters. Nothing is downloaded.
"""

import ast
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from calib.scoring.answers import read_choice
from calib.scoring.intervals import wilson
from calib.util.errors import CalibError
from experiments import command

FILES = {
    "standard_cot": "gpt-4o_standard(10 options)_cot.jsonl",
    "vision_cot": "gpt-4o_vision_cot.jsonl",
    "vision_direct": "gpt-4o_vision_direct.jsonl",
    "standard_direct": "gpt-4o_standard(10 options)_direct.jsonl",
}
"""The files of MMMU-Pro, by prompt."""
COLUMNS = ("prompt", "n", "accuracy", "low", "high", "unreadable")


def readings(path: Path) -> Iterator[tuple[str | None, str]]:
    """The letter that calib reads in each response, and the correct letter.

    Raises CalibError (not-found) if there is no such file.
    """
    if not path.is_file():
        raise CalibError(
            "not-found",
            f"{path} does not exist. Give the folder mmmu-pro/output of MMMU-Benchmark/MMMU.",
        )
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        texts = ast.literal_eval(row["options"])
        options = {chr(ord("A") + k): str(text) for k, text in enumerate(texts)}
        response = row["response"] if isinstance(row["response"], str) else ""
        yield read_choice(response, options), row["answer"]


def measure(path: Path) -> dict[str, float]:
    """Accuracy with its 95% Wilson interval, and the number of unreadable responses."""
    pairs = list(readings(path))
    rate = wilson(sum(letter == answer for letter, answer in pairs), len(pairs))
    bounds = {name: round(getattr(rate, name), 3) for name in ("low", "high")}
    unreadable = sum(letter is None for letter, _ in pairs)
    return {"n": rate.n, "accuracy": round(rate.value, 3), **bounds, "unreadable": unreadable}


def main(folder: Path) -> None:
    """Write one line of CSV for each prompt."""
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for prompt, name in FILES.items():
        writer.writerow({"prompt": prompt, **measure(folder / name)})


if __name__ == "__main__":
    command.run_on(main, __doc__)
