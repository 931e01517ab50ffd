"""Copies of the published benchmarks in their repositories' layout, with harmless content.

local("xstest", folder)           # a folder for data.root
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
from utility_tables import png

from calib.data.published.mm_safetybench import SUBSETS
from calib.data.vscbench_tables import IMAGE_COLUMNS, TEXT_COLUMNS

Rows = Sequence[Mapping[str, Any]]
N = 16
"""Items of each kind: enough for every split to be non-empty."""
COLOURS = ("red", "lime", "blue", "white")
THINGS = ("an egg", "a map", "a box", "a door", "a wall", "a hat", "a tent", "a cup")


def colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def thing(number: int) -> str:
    return f"{THINGS[number % len(THINGS)]}, number {number}"


def write(path: Path, content: Any) -> Path:
    """Write rows as CSV, any value as JSON, or a picture of a named colour (or of a colour and its
    side in pixels), by file extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(content[0]))
            writer.writeheader()
            writer.writerows(content)
    elif path.suffix == ".json":
        path.write_text(json.dumps(content), encoding="utf-8")
    else:
        path.write_bytes(png(*((content,) if isinstance(content, str) else content)))
    return path


# Rows


def xstest() -> Rows:
    sides = {"homonyms": "safe", "contrast_homonyms": "unsafe"}
    return [
        {"id": f"{kind}{k}", "prompt": f"How do I fold {thing(k)}, as {kind}?", "type": kind}
        | {"label": side, "focus": f"fold {k}", "note": "made up"}
        for kind, side in sides.items()
        for k in range(N)
    ]


def behaviours(side: str) -> Rows:
    return [
        {"Index": k, "Goal": f"Write about {thing(k)}, {side}.", "Target": "Here is"}
        | {"Behavior": "b", "Category": "Crafts", "Source": "Original"}
        for k in range(N)
    ]


def or_bench(subset: str) -> Rows:
    return [{"prompt": f"How to fold {thing(k)}? ({subset})", "category": "a"} for k in range(N)]


def mossbench(side: str) -> dict[str, dict[str, Any]]:
    return {
        str(k): {
            "image": f"images/{k}.png", "short description": "a card", "description": "a card",
            "question": f"What may I fold from {thing(k)}, {side}?", "pid": str(k),
            "metadata": {"over": f"type {k % 3 + 1}", "human": 0, "child": 0, "syn": 1, "ocr": 0,
                         "harm": [7]},
        }
        for k in range(N)
    }  # fmt: skip


def mm_question(number: int) -> dict[str, str]:
    return {
        "Question": f"May I paint {thing(number)}?",
        "Changed Question": f"List ways to paint {thing(number)}",
        "Key Phrase": f"paint {number}",
        "Phrase Type": "activity",
        "Rephrased Question": f"List ways to do what the picture says, {number}",
        "Rephrased Question(SD)": f"List ways to do what the picture shows, {number}",
    }


def siuo() -> Rows:
    return [
        {"question_id": k, "image": f"S-{k}.png", "question": f"What goes with {thing(k)}?"}
        | {"category": "morality", "safety_warning": "w", "reference_answer": "r"}
        for k in range(N)
    ]


def vlguard(part: str) -> Rows:
    instructions = [
        {"safe_instruction": "What is drawn?", "response": "A pear."},
        {"unsafe_instruction": "How do I bruise it?", "response": "No."},
    ]
    safe = [
        {"id": f"s{k}", "image": f"ads/{k}.png", "safe": True, "instr-resp": instructions}
        for k in range(N)
    ]
    unsafe = [
        {"id": f"u{k}", "image": f"memes/{k}.png", "safe": False, "harmful_category": "signs"}
        | {"harmful_subcategory": "signs", "instr-resp": [{"instruction": "Praise it."}]}
        for k in range(4)
    ]
    return [*safe, *unsafe]


def figstep() -> Rows:
    return [
        {"dataset": "ForbidQI", "category_id": 1, "task_id": k, "category_name": "Baking"}
        | {"question": f"How to ice {thing(k)}?", "instruction": f"Steps to ice {thing(k)}."}
        for k in range(1, N + 1)
    ]


def vscbench() -> list[dict[str, Any]]:
    return [
        {
            "type": kind, "focus": f"fold {k}", "object": what,
            "prompt_origin": f"How can I fold {what}?",
            "prompt_mm": "How can I fold the content in the image?",
            "prompt_figstep": f"Steps to fold {what}.", "search_img": f"{how[:1]}_{k}_0.png",
            "typography_img": f"{how[:1]}{k}_thing.png",
            "concat_img": f"{how[:1]}{k}_concat.png", "figstep_img": f"{how[:1]}{k}_fistep.png",
        }
        for kind, how in (("homonyms", "a paper"), ("contrast_homonyms", "my neighbour's"))
        for k in range(N)
        for what in (f"{how} {thing(k)}",)
    ]  # fmt: skip


# Local copies


def _xstest(folder: Path) -> None:
    write(folder / "xstest_prompts.csv", xstest())


def _jailbreakbench(folder: Path) -> None:
    for side in ("harmful", "benign"):
        write(folder / "data" / f"{side}-behaviors.csv", behaviours(side))


def _or_bench(folder: Path) -> None:
    for subset in ("or-bench-80k", "or-bench-hard-1k", "or-bench-toxic"):
        write(folder / f"{subset}.csv", or_bench(subset))


def _mossbench(folder: Path) -> None:
    for part, side in (("data", "as it is"), ("data_contrast", "for harm")):
        write(folder / part / "images_information" / "information.json", mossbench(side))
        for k in range(N):
            # As published: a contrast of type 2 has another picture.
            other = part == "data_contrast" and k % 3 + 1 == 2
            write(folder / part / "images" / f"{k}.png", (colour(k), 80 if other else 10 + k))


def _mm_safetybench(folder: Path) -> None:
    for number, scenario in enumerate(SUBSETS, 1):
        name = f"{number:02d}-{scenario}"
        rows = {str(k): mm_question(k) for k in range(3)}
        write(folder / "data" / "processed_questions" / f"{name}.json", rows)
        for split in ("SD", "TYPO", "SD_TYPO"):
            for k in range(3):
                write(folder / "data" / "imgs" / name / split / f"{k}.jpg", colour(k))


def _siuo(folder: Path) -> None:
    write(folder / "siuo_gen.json", siuo())
    for k in range(N):
        write(folder / "images" / f"S-{k}.png", colour(k))


def _vlguard(folder: Path) -> None:
    for part in ("train", "test"):
        write(folder / f"{part}.json", vlguard(part))
        for k, row in enumerate(vlguard(part)):
            side = 10 + k + (40 if part == "test" else 0)
            write(folder / part / row["image"], (colour(k), side))


def _figstep(folder: Path) -> None:
    for name in ("safebench", "SafeBench-Tiny"):
        write(folder / "data" / "question" / f"{name}.csv", figstep())


def _vscbench(folder: Path) -> None:
    sides = [f"{side}_img_{k}" for side in ("safe", "unsafe") for k in range(3)]
    photographs = [
        {"Category": "drugs", "Prompt": "What is this used for?"}
        | {side: f"{side}_drugs_{k}.png" for side in sides}
        for k in range(4)
    ]
    tables = {"text": (TEXT_COLUMNS, vscbench()), "image": (IMAGE_COLUMNS, photographs)}
    for k, row in enumerate(photographs):
        for side in sides:
            pictures = folder / "vscbench_image_centric_images" / "drugs"
            write(pictures / row[side], colour(k + side.startswith("un")))
    for k, row in enumerate(vscbench()):
        for variant in ("search", "concat"):
            pictures = folder / "vscbench_text_centric_images" / variant
            write(pictures / row[f"{variant}_img"], colour(k))
    for part, (columns, rows) in tables.items():
        book = openpyxl.Workbook()
        book.active.title = "Sheet1"
        book.active.append(list(columns))
        for row in rows:
            book.active.append([row[column] for column in columns])
        book.save(folder / f"vscbench_{part}_centric.xlsx")


COPIES = Path(__file__).resolve().parents[1] / "data" / "published" / "copies"

_LOCAL: dict[str, Callable[[Path], None]] = {
    "xstest": _xstest, "jailbreakbench": _jailbreakbench, "or_bench": _or_bench,
    "mossbench": _mossbench, "mm_safetybench": _mm_safetybench, "siuo": _siuo,
    "vlguard": _vlguard, "figstep": _figstep, "vscbench": _vscbench,
}  # fmt: skip


def local(name: str, folder: Path) -> Path:
    """The folder of a benchmark's copy, written unless it exists.

    A benchmark may have its copy as files in tests/data/published/copies/NAME.
    """
    if (COPIES / name).is_dir():
        return COPIES / name
    if not folder.exists():
        _LOCAL[name](folder)
    return folder
