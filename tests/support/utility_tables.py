"""Copies of published utility sets in the hub's layout, with pictures of a single colour."""

import io
import json
from pathlib import Path

import datasets
from PIL import Image

PICTURE = datasets.Image()
TEXT = datasets.Value("string")


def png(colour: str, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return buffer.getvalue()


def picture(colour: str) -> dict:
    return {"bytes": png(colour), "path": None}


FEATURES = {
    "mme": dict.fromkeys(["question_id", "question", "answer", "category"], TEXT)
    | {"image": PICTURE},
    "pope": dict.fromkeys(
        ["id", "question_id", "question", "answer", "image_source", "category"], TEXT
    )
    | {"image": PICTURE},
    "scienceqa": dict.fromkeys(["question", "hint", "task", "subject", "topic"], TEXT)
    | {
        "image": PICTURE,
        "choices": datasets.List(TEXT),
        "answer": datasets.Value("int8"),
    },
    "mmstar": dict.fromkeys(["question", "answer", "category", "l2_category"], TEXT)
    | {"index": datasets.Value("int64"), "image": PICTURE},
    "mmmu": dict.fromkeys(["id", "question", "options", "answer", "question_type"], TEXT)
    | {f"image_{k}": PICTURE for k in range(1, 8)},
}

MME = [
    {
        "question_id": f"{subtask}/{name}.png",
        "image": picture(colour),
        "question": f"{question} Please answer yes or no.",
        "answer": answer,
        "category": subtask,
    }
    for subtask, name, colour, question, answer in [
        ("color", "0001", "red", "Is the square red?", "Yes"),
        ("color", "0001", "red", "Is the square blue?", "No"),
        ("color", "0002", "blue", "Is the square blue?", "Yes"),
        ("color", "0002", "blue", "Is the square green?", "No"),
        ("code_reasoning", "0001", "white", "Is the result 3?", "Yes"),
        ("code_reasoning", "0001", "white", "Is the result 4?", "No"),
    ]
]

POPE = [
    {
        "id": str(k),
        "question_id": str(k % 2 + 1),
        "question": f"Is there a {thing} in the image?",
        "answer": answer,
        "image_source": source,
        "image": picture(colour),
        "category": category,
    }
    for k, (thing, answer, source, colour, category) in enumerate(
        [
            ("cup", "yes", "photo_1", "red", "random"),
            ("spoon", "no", "photo_1", "red", "random"),
            ("cup", "yes", "photo_1", "red", "popular"),
            ("chair", "no", "photo_2", "blue", "popular"),
        ]
    )
]

SCIENCEQA = [
    {
        "image": picture("green"),
        "question": "Which colour is it?",
        "choices": ["red", "green"],
        "answer": 1,
        "hint": "Look at\nthe square.",
        "task": "closed choice",
        "subject": "natural science",
        "topic": "physics",
    },
    {
        "image": None,
        "question": "Which comes first?",
        "choices": ["spring", "summer"],
        "answer": 0,
        "hint": "",
        "task": "closed choice",
        "subject": "social science",
        "topic": "geography",
    },
    {
        "image": picture("blue"),
        "question": "How many squares are there?",
        "choices": ["one", "two", "three"],
        "answer": 0,
        "hint": "",
        "task": "closed choice",
        "subject": "natural science",
        "topic": "physics",
    },
    {
        "image": picture("red"),
        "question": "Which of them?",
        "choices": ["this", "that"],
        "answer": 2,
        "hint": None,
        "task": "closed choice",
        "subject": "language science",
        "topic": "writing",
    },
]

MMSTAR = [
    {
        "index": 0,
        "question": "Where is the cup?\nOptions: A: On the table., B: Under it, or near., "
        "C: In the box., D: Nowhere.",
        "image": picture("red"),
        "answer": "B",
        "category": "fine-grained perception",
        "l2_category": "localization",
    },
    {
        "index": 1,
        "question": "Hint: Please give the letter, e.g., A, B, C, D.\nQuestion: How many?\n"
        "Choices:\n(A) 1\n(B) 2\n(C) 3",
        "image": picture("blue"),
        "answer": "C",
        "category": "math",
        "l2_category": "geometry",
    },
    {
        "index": 2,
        "question": "How many?\nChoices:\n(A) 1\n(B) 2",
        "image": picture("blue"),
        "answer": "D",
        "category": "math",
        "l2_category": "geometry",
    },
]


def _mmmu(id: str, question: str, options: str, answer: str, kind: str, *colours: str) -> dict:
    pictures = {f"image_{k}": None for k in range(1, 8)}
    pictures |= {f"image_{k}": picture(colour) for k, colour in enumerate(colours, 1)}
    return {
        "id": id,
        "question": question,
        "options": options,
        "answer": answer,
        "question_type": kind,
        **pictures,
    }


CHOICE = "multiple-choice"
MMMU = {
    "Art": [
        _mmmu(
            "validation_Art_1", "<image 1> Who drew it?", "['Ann', \"Bo's\"]", "B", CHOICE, "red"
        ),
        _mmmu("validation_Art_2", "Who?", "['<image 1>', '<image 2>']", "A", CHOICE, "red", "blue"),
        _mmmu("validation_Art_3", "Name it: <image 1>", "[]", "cup", "open", "red"),
    ],
    "Math": [
        _mmmu("validation_Math_1", "In <image 1>, what is x?", "['$6', '$7']", "A", CHOICE, "blue"),
        _mmmu("validation_Math_2", "What is <image 1>", "['1', '2']", "?", CHOICE, "blue"),
    ],
}


def write_parquet(path: Path, name: str, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    features = datasets.Features(FEATURES[name])
    columns = {column: [row[column] for row in rows] for column in features}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(str(path))


def write_copy(root: Path, name: str) -> Path:
    """Write a set's hub repository, with its dataset card, to the folder ``root``."""
    files: dict[str, list[dict]] = {
        "mme": {
            "data/test-00000-of-00002-a25dbe3b44c4fda6.parquet": MME[:3],
            "data/test-00001-of-00002-7d22c7f1aba6fca4.parquet": MME[3:],
        },
        "pope": {"data/test-00000-of-00001.parquet": POPE},
        "scienceqa": {"ScienceQA-IMG/test-00000-of-00001.parquet": SCIENCEQA},
        "mmstar": {"mmstar.parquet": MMSTAR},
        "mmmu": {f"{s}/validation-00000-of-00001.parquet": rows for s, rows in MMMU.items()},
    }[name]
    for file, rows in files.items():
        write_parquet(root / file, name, rows)
    configs = {
        "mme": {"default": ("test", "data/test-*")},
        "pope": {"default": ("test", "data/test-*")},
        "scienceqa": {"ScienceQA-IMG": ("test", "ScienceQA-IMG/test-*")},
        "mmstar": {"val": ("val", "mmstar.parquet")},
        "mmmu": {s: ("validation", f"{s}/validation-*") for s in MMMU},
    }[name]
    card = [
        {"config_name": config, "data_files": [{"split": split, "path": path}]}
        for config, (split, path) in configs.items()
    ]
    (root / "README.md").write_text(f"---\nconfigs: {json.dumps(card)}\n---\n", encoding="utf-8")
    return root
