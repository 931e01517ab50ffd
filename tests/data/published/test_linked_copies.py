"""Copies that consist of links, as snapshots of the hub's cache and users' picture folders do."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from benchmark_copies import local
from utility_tables import MMMU, write_copy

from calib.config.data import DATA, PublishedUtility
from calib.config.schemas import CONF
from calib.config.typed import typed_config
from calib.data.benchmarks import load_benchmark, load_utility

BENCHMARKS = (
    *("xstest", "jailbreakbench", "or_bench", "mossbench", "vlguard", "siuo", "mm_safetybench"),
    *("figstep", "vscbench"),
)
SPLITS = {"mmstar": "val", "mmmu": "validation"}


def snapshot(copy: Path) -> Path:
    """A snapshot of the hub's cache: every file is a relative link to a blob."""
    blobs = copy.parent / "datasets--a--b" / "blobs"
    folder = blobs.parent / "snapshots" / "0f"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in copy.rglob("*") if path.is_file())):
        shutil.copyfile(path, blobs / str(number))
        link = folder / path.relative_to(copy)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    return folder


def linked_folders(copy: Path) -> Path:
    """A folder whose files are links, and whose subfolders are links elsewhere."""
    folder = copy.parent / "linked"
    folder.mkdir()
    for path in copy.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def asked(name: str, root: Path) -> list[tuple]:
    values = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text(encoding="utf-8"))
    (schema,) = (next(iter(d.values())) for d in values.pop("defaults") if isinstance(d, dict))
    changes = {"root": str(root), "limit": None, "skip_broken": False}
    examples = load_benchmark(typed_config([DATA[schema]], values | changes)).examples
    return [(e.id, e.query, e.picture and e.picture().tobytes()) for e in examples]


@pytest.mark.parametrize("linked", [snapshot, linked_folders])
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_read_through_links(name, linked, tmp_path):
    copy = local(name, tmp_path / "copy")
    plain = asked(name, copy)
    assert asked(name, linked(copy)) == plain != []


@pytest.mark.parametrize("linked", [snapshot, linked_folders])
@pytest.mark.parametrize("name", ["mme", "pope", "scienceqa", "mmstar", "mmmu"])
def test_a_utility_set_is_read_through_links(name, linked, tmp_path):
    copy = write_copy(tmp_path / "copy", name)
    subsets = {"scienceqa": ["ScienceQA-IMG"], "mmmu": list(MMMU)}.get(name, [])

    def questions(root: Path) -> list[tuple]:
        split = SPLITS.get(name, "test")
        config = PublishedUtility(name=name, root=str(root), split=split, subsets=subsets)
        return [(e.id, e.query, e.picture().tobytes()) for e in load_utility(config).examples]

    plain = questions(copy)
    assert questions(linked(copy)) == plain != []
