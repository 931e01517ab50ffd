"""Writing a rendered set, reading it back, and errors in its files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from raising import raises

from calib.config.data import DualBenchData
from calib.data import dualbench
from calib.data.benchmarks import load_benchmark
from calib.data.dualbench.rendered_set import MANIFEST, picture_path, write_set

SMALL = {"per_category": 1, "size": 224, "query": "What is it?"}


@pytest.fixture(scope="module")
def examples():
    return dualbench.load(DualBenchData(**SMALL)).examples


@pytest.fixture
def folder(tmp_path: Path, examples) -> Path:
    few = [e for e in examples if e.metadata["code"] in ("S1", "S2")]
    write_set(few, tmp_path / "set", {"README.md": lambda: b"about\n"})
    return tmp_path / "set"


def read(folder: Path, **changes):
    return load_benchmark(DualBenchData(root=str(folder), query="What is it?", **changes))


def change(folder: Path, line: int, **fields) -> None:
    rows = [json.loads(row) for row in (folder / MANIFEST).read_text(encoding="utf-8").splitlines()]
    rows[line].update(fields)
    (folder / MANIFEST).write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )


def test_a_written_set_is_read_back_unchanged(folder: Path, examples) -> None:
    benchmark = read(folder)
    expected = [e for e in examples if e.metadata["code"] in ("S1", "S2")]
    assert len(benchmark.examples) == len(expected) == 24 and benchmark.notes == []
    for found, first in zip(benchmark.examples, expected, strict=True):
        same = (
            "id",
            "dataset",
            "variant",
            "category",
            "split",
            "query",
            "safety",
            "pair",
            "metadata",
        )
        assert all(getattr(found, name) == getattr(first, name) for name in same)
        assert found.picture().tobytes() == first.picture().tobytes()


def test_the_manifest_lists_the_rendering_parameters(folder: Path, examples) -> None:
    rows = [json.loads(row) for row in (folder / MANIFEST).read_text(encoding="utf-8").splitlines()]
    by_id = {e.id: e for e in examples}
    for row in rows:
        style = by_id[row["id"]].picture.style()
        assert row["font_px"] == style.font_px and row["background"] == style.background
        assert row["angle"] == pytest.approx(style.angle, abs=1e-3)
        assert row["noise"] == pytest.approx(style.noise, abs=1e-4)
        assert (row["size"], row["seed"], row["font"]) == (224, 0, "DejaVuSans.ttf")
        assert row["split"] == by_id[row["id"]].split
    assert {bool(row["angle"]) for row in rows if row["variant"] == "rotation"} == {True}
    assert {row["background"] for row in rows} == {"", "drawn scene"}


def test_picture_names_contain_no_text(examples) -> None:
    same_text = [replace(e, id=f"{e.id}/other") for e in examples]
    examples = [*examples, *same_text]
    names = [picture_path(e) for e in examples]
    assert len(set(names)) == len(names)
    for name, example in zip(names, examples, strict=True):
        start = f"pictures/{example.metadata['code']}_{example.variant}_{example.safety}_"
        assert name.startswith(start) and name.endswith(".png") and len(name) == len(start) + 20


def test_a_part_of_a_folder_can_be_selected(folder: Path) -> None:
    examples = read(folder, variants=["noise"]).examples
    assert [e.variant for e in examples] == ["noise"] * 4
    moved = read(folder, train=0.0, validation=0.0)
    assert {e.split for e in moved.examples} == {"test"}
    assert not moved.notes or MANIFEST in moved.notes[0]
    train = read(folder, train=1.0, validation=0.0)
    assert "of 24 examples" in train.notes[0] and MANIFEST in train.notes[0]


def test_a_limit_per_category_selects_as_in_rendering(tmp_path: Path) -> None:
    settings = {"variants": ["original"], "size": 224}
    three, one = (
        dualbench.load(DualBenchData(per_category=n, **settings)).examples for n in (3, 1)
    )
    write_set([e for e in three if e.metadata["code"] == "S1"], tmp_path / "set", {})
    examples = read(tmp_path / "set", per_category=1, variants=["original"]).examples
    assert [e.id for e in examples] == [e.id for e in one if e.metadata["code"] == "S1"]
    assert len(read(tmp_path / "set", per_category=None, variants=["original"]).examples) == 6


def test_a_variant_that_is_not_in_the_folder_is_refused(tmp_path: Path, examples) -> None:
    write_set([e for e in examples if e.variant == "original"][:2], tmp_path / "one", {})
    with raises("invalid-setting", "'real_background'", tmp_path / "one", "original"):
        read(tmp_path / "one")


@pytest.mark.parametrize("key", ["twins", "backgrounds", "font", "translations"])
def test_rendering_settings_conflict_with_a_rendered_folder(folder: Path, key: str) -> None:
    with raises("conflicting-settings", f"data.{key}", f"data.root={folder}"):
        read(folder, **{key: "x"})


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with raises("not-found", tmp_path, MANIFEST, "calib.dualbench"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png", "C:\\x.png", "..\\x"])
def test_a_picture_outside_of_the_folder_is_refused(folder: Path, name: str) -> None:
    change(folder, 3, picture=name)
    with raises("invalid-value", "line 4", repr(name)):
        read(folder)


@pytest.mark.parametrize(
    ("fields", "code", "values"),
    [
        ({"text": 5}, "invalid-content", ["line 2", "'text'"]),
        ({"pair": ""}, "invalid-content", ["line 2", "'pair'"]),
        ({"variant": "mirror"}, "invalid-content", ["line 2", "'mirror'"]),
        ({"safety": "harmful"}, "invalid-content", ["line 2", "'harmful'"]),
        ({"code": "S13"}, "invalid-value", ["line 2", "'S13'"]),
        (
            {"code": "S9"},
            "invalid-content",
            ["line 2", "S9", "Indiscriminate Weapons", "'Violent Crimes'"],
        ),
        ({"picture": "pictures/none.png"}, "unreadable", ["1 of 24", "pictures/none.png"]),
    ],
)
def test_a_damaged_line_is_named(folder: Path, fields, code: str, values: list[str]) -> None:
    change(folder, 1, **fields)
    with raises(code, *values):
        read(folder)


def test_a_duplicate_id_is_refused(folder: Path) -> None:
    row = json.loads((folder / MANIFEST).read_text(encoding="utf-8").splitlines()[0])
    change(folder, 5, id=row["id"])
    with raises("duplicate", MANIFEST, row["id"]):
        read(folder)


def test_a_broken_picture_can_be_skipped(folder: Path) -> None:
    next((folder / "pictures").iterdir()).write_bytes(b"x")
    with raises("unreadable", "1 of 24"):
        read(folder)
    benchmark = read(folder, skip_broken=True)
    assert len(benchmark.examples) == 23 and "1 of 24 examples" in benchmark.notes[0]
