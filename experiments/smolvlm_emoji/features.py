"""Outputs of the tower's last block for every drawing, kept on disk.

View 0 of a drawing is the plain picture, as in evaluation; the others are varied. Files are named
after the tower's weights, and an interrupted computation resumes at the last finished part.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch

from calib.models.towers.efficientnet_lite import EfficientNetLite
from experiments.smolvlm_emoji.augment import SIDE, normalised, shown, varied
from experiments.smolvlm_emoji.drawings import Drawings

PART = 64
"""Pictures between two saves."""
AT_ONCE = 4
"""Pictures per pass through the tower: few of them fit the caches of a CPU, which is faster."""


def kept_grids(
    tower: EfficientNetLite, drawings: Drawings, views: int, folder: Path, seed: int
) -> "Grids":
    """Grids of all views, computed where they are not on disk.

    Each view takes 31 KB per drawing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count, side = len(drawings.pictures), SIDE // tower.config.patch_size
    shape = (count, tower.config.stages[-1][3], side, side)
    name = weights_hash(tower)
    files = []
    for view in range(views):
        path = folder / f"grids_{name}_{seed}_{view}.npy"
        if not path.exists():
            _compute(tower, drawings, view, path, shape, seed)
        files.append(np.load(path, mmap_mode="r"))
    return Grids(files)


class Grids:
    """Grids on disk, one file per view."""

    def __init__(self, files: list[np.ndarray]) -> None:
        self.files = files

    def of(self, views: np.ndarray, drawings: np.ndarray) -> torch.Tensor:
        """The grids of some views of some drawings. # [pictures, channels, rows, columns]"""
        found = [self.files[v][d] for v, d in zip(views, drawings, strict=True)]
        return torch.from_numpy(np.stack(found)).float()


@torch.no_grad()
def _compute(
    tower: EfficientNetLite,
    drawings: Drawings,
    view: int,
    path: Path,
    shape: tuple[int, ...],
    seed: int,
) -> None:
    partial, done = path.with_suffix(".partial"), path.with_suffix(".done")
    start = int(done.read_text(encoding="utf-8")) if done.exists() and partial.exists() else 0
    mode = "r+" if start else "w+"
    grids = np.lib.format.open_memmap(partial, mode=mode, dtype=np.float16, shape=shape)
    for first in range(start, shape[0], PART):
        pixels = view_pixels(drawings.pictures[first : first + PART], view, [seed, view, first])
        parts = [tower.grid(few) for few in pixels.split(AT_ONCE)]
        grids[first : first + PART] = torch.cat(parts).half().numpy()
        grids.flush()
        done.write_text(str(first + PART), encoding="utf-8")
    partial.replace(path)
    done.unlink()


def view_pixels(pictures: np.ndarray, view: int, seed: list[int]) -> torch.Tensor:
    """Pixels of one view of some drawings. # [drawings, 3, SIDE, SIDE] normalised"""
    if view:
        return varied(pictures, np.random.default_rng(seed))
    plain = [np.asarray(shown(drawing).resize((SIDE, SIDE), 3)) for drawing in pictures]  # bicubic
    return normalised(torch.from_numpy(np.stack(plain)).permute(0, 3, 1, 2).float() / 255)


def weights_hash(tower: EfficientNetLite) -> str:
    """Hash of the weights of the blocks, as 12 hex digits."""
    digest = hashlib.sha256()
    for name, weight in sorted(tower.state_dict().items()):
        if not name.startswith("head."):
            digest.update(weight.numpy().tobytes())
    return digest.hexdigest()[:12]
