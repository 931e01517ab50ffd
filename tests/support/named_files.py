"""The files that shown commands name, by their names there, with harmless content."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from benchmark_copies import COLOURS, thing, write
from original_llava import original, pair
from original_llava import write as write_original
from random_directions import direction_at
from safetensors.torch import save_file
from shown_commands import ROOT
from stand_ins import MINI, Checkpoints

from calib.data.mini.examples import DATASETS
from calib.data.mini.examples import load as mini
from calib.directions.direction import write_direction
from calib.interchange.gguf import gguf_bytes


def _pairs(path: Path, _: Checkpoints) -> None:
    rows = [
        {"pair": k, "safety": side, "query": f"How do I fold {thing(k)}, {side}?", "image": ""}
        for k in range(16)
        for side in ("safe", "unsafe")
    ]
    write(path, rows)


def _example_pairs(path: Path, _: Checkpoints) -> None:
    shutil.copytree(ROOT / "docs" / "example_pairs", path.parent, dirs_exist_ok=True)


def _pictures(path: Path, _: Checkpoints) -> None:
    for side in ("safe", "unsafe"):
        for k in range(16):
            write(path / side / f"{k}.png", COLOURS[(k + (side == "safe")) % len(COLOURS)])


def _twins(path: Path, _: Checkpoints) -> None:
    rows = [
        {
            "category": f"S{k % 3 + 1}",
            "harmful": f"Spoil {thing(k)}.",
            "benign": f"Fold {thing(k)}.",
        }
        | {"harmful_translation": f"{k} uno.", "benign_translation": f"{k} dos."}
        for k in range(16)
    ]
    write(path, rows)


def _photographs(path: Path, _: Checkpoints) -> None:
    for k in range(2):
        write(path / f"{k}.png", COLOURS[k])


def _captions(path: Path, _: Checkpoints) -> None:
    shown = [one for one in mini(DATASETS, limit=40) if one.picture is not None]
    path.write_text(
        "".join(json.dumps({"id": one.id, "caption": f"a sign: {one.id}"}) + "\n" for one in shown)
    )


def _direction(path: Path, checkpoints: Checkpoints) -> None:
    write_direction(path, direction_at(checkpoints.load(MINI), [3]))


def _gguf(path: Path, checkpoints: Checkpoints) -> None:
    width = checkpoints.load(MINI).width
    path.write_bytes(gguf_bytes({}, {"direction.3": torch.ones(width)}))


def narrow_gguf(path: Path) -> None:
    path.write_bytes(gguf_bytes({}, {"direction.3": torch.ones(48)}))


def _refusal_direction(path: Path, checkpoints: Checkpoints) -> None:
    torch.save(torch.ones(checkpoints.load(MINI).width), path)
    path.with_name("direction_metadata.json").write_text('{"pos": -2, "layer": 4}')


def _stacked(path: Path, checkpoints: Checkpoints) -> None:
    save_file({"v": torch.ones(2, checkpoints.load(MINI).width)}, path)


def _labelled(path: Path, _: Checkpoints) -> None:
    kinds = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")
    rows = [
        {"prompt": f"How do I fold {thing(k)}?", "completion": "Fold it.", "final_label": kind}
        for k, kind in enumerate(kinds)
    ]
    write(path, rows)


def _original(path: Path, _: Checkpoints) -> None:
    write_original(path, original(pair()[0]))


FILES: dict[str, Callable[[Path, Checkpoints], None]] = {
    "pairs.csv": _pairs, "PATH/pairs.csv": _pairs, "PATH/pictures": _pictures,
    "pictures": _pictures, "TWINS.csv": _twins, "PHOTOGRAPHS": _photographs,
    "captions.jsonl": _captions, "direction.safetensors": _direction, "vector.gguf": _gguf,
    "run/direction.pt": _refusal_direction, "stacked.safetensors": _stacked,
    "labelled.csv": _labelled, "original": _original,
    "docs/example_pairs/pairs.csv": _example_pairs,
}  # fmt: skip
