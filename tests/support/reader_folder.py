"""The files that shown commands name, with harmless content: pairs, pictures, directions, copies.

write_files(folder)     # pairs.csv, pictures/, direction.safetensors, benchmarks/xstest, ...
"""

import json
import shutil
from pathlib import Path

import tiny_classifiers
import torch
import utility_tables
from benchmark_copies import COLOURS, colour, local, thing, write
from original_llava import original, pair
from original_llava import write as write_original
from random_directions import direction_at
from safetensors.torch import save_file
from shown_commands import ROOT

from calib.config.model import ModelConfig
from calib.data.mini.examples import DATASETS
from calib.data.mini.examples import load as load_mini
from calib.directions.direction import write_direction
from calib.interchange.gguf import gguf_bytes
from calib.models.load import load

PAIRS = 16
BENCHMARKS = (
    "xstest", "jailbreakbench", "or_bench", "mossbench", "mm_safetybench", "siuo", "vlguard",
    "figstep", "vscbench",
)  # fmt: skip
UTILITY = ("mme", "mmstar", "pope", "scienceqa")


def write_files(folder: Path) -> None:
    """Write every file that a shown command may name, apart from runs."""
    shutil.copytree(ROOT / "docs" / "example_pairs", folder / "docs" / "example_pairs")
    _write_pairs(folder)
    _write_directions(folder)
    for name in BENCHMARKS:
        local(name, folder / "benchmarks" / name)
    for name in UTILITY:
        (folder / "utility" / name).mkdir(parents=True)
        utility_tables.write_copy(folder / "utility" / name, name)
    judges = folder / "judges"
    tiny_classifiers.sequence(judges / "distilroberta", id2label={0: "NORMAL", 1: "REJECTION"})
    tiny_classifiers.sequence(judges / "classifier", id2label={0: "REFUSED", 1: "ANSWERED"})
    tiny_classifiers.guard(judges / "qwen3guard")
    tuned, skeleton, processor = pair()
    write_original(folder / "original", original(tuned))
    skeleton.save_pretrained(folder / "skeleton")
    processor.save_pretrained(folder / "skeleton")


def _write_pairs(folder: Path) -> None:
    rows = [
        {"pair": k, "safety": side, "query": f"How do I fold {thing(k)}, {side}?", "image": ""}
        for k in range(PAIRS)
        for side in ("safe", "unsafe")
    ]
    for name in ("pairs.csv", "PAIRS.csv", "PATH/pairs.csv"):
        write(folder / name, rows)
    write(folder / "queries.csv", [{**row, "pair": ""} for row in rows])
    questions = [{"question": f"What is {k} + 1?", "answer": f"{k + 1}"} for k in range(PAIRS)]
    write(folder / "questions.csv", questions)
    for name in ("pictures", "PATH/pictures"):
        for k in range(PAIRS):
            write(folder / name / "safe" / f"{k}.png", colour(k + 1))
            write(folder / name / "unsafe" / f"{k}.png", colour(k))
    twins = [
        {
            "category": f"S{k % 3 + 1}",
            "harmful": f"Spoil {thing(k)}.",
            "benign": f"Fold {thing(k)}.",
        }
        | {"harmful_translation": f"{k} uno.", "benign_translation": f"{k} dos."}
        for k in range(PAIRS)
    ]  # fmt: skip
    write(folder / "TWINS.csv", twins)
    for k in range(2):
        write(folder / "PHOTOGRAPHS" / f"{k}.png", COLOURS[k])
    labels = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")
    labelled = [
        {"prompt": f"How do I fold {thing(k)}?", "completion": "Fold it.", "final_label": label}
        for k, label in enumerate(labels)
    ]
    write(folder / "labelled.csv", labelled)
    with (folder / "captions.jsonl").open("w", encoding="utf-8") as file:
        for example in load_mini(DATASETS, limit=40):
            if example.picture is not None:
                caption = {"id": example.id, "caption": f"a sign: {example.id}"}
                file.write(json.dumps(caption) + "\n")


def _write_directions(folder: Path) -> None:
    vlm = load(ModelConfig("internvl"))
    write_direction(folder / "direction.safetensors", direction_at(vlm, [3]))
    vector = torch.ones(vlm.width)
    (folder / "vector.gguf").write_bytes(gguf_bytes({}, {"direction.3": vector}))
    save_file({"v": torch.stack([vector, vector])}, folder / "stacked.safetensors")
    (folder / "run").mkdir()
    torch.save(vector, folder / "run" / "direction.pt")
    (folder / "run" / "direction_metadata.json").write_text(
        '{"pos": -2, "layer": 4}', encoding="utf-8"
    )
    (folder / "vectors" / "refusal").mkdir(parents=True)
    torch.save(vector, folder / "vectors" / "refusal" / "vec_layer_3.pt")
