"""A written folder is read back to the same examples and pixels, and damage is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from calib.data.dualbench.written import MANIFEST, name_of, write_set

from calib.config.data import DualBenchData
from calib.data import dualbench
from calib.data.benchmarks import load_benchmark
from calib.util.errors import CalibError

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
    rows = [json.loads(row) for row in (folder / MANIFEST).read_text().splitlines()]
    rows[line].update(fields)
    (folder / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_was_written_comes_back(folder: Path, examples) -> None:
    benchmark = read(folder)
    expected = [e for e in examples if e.metadata["code"] in ("S1", "S2")]
    assert len(benchmark.examples) == len(expected) == 24 and benchmark.notes == []
    for found, first in zip(benchmark.examples, expected, strict=True):
        same = ("id", "dataset", "variant", "category", "split", "query", "safety", "pair", "facts")
        assert all(getattr(found, name) == getattr(first, name) for name in same)
        assert found.picture().tobytes() == first.picture().tobytes()


def test_the_manifest_says_what_was_drawn(folder: Path, examples) -> None:
    rows = [json.loads(row) for row in (folder / MANIFEST).read_text().splitlines()]
    by_id = {e.id: e for e in examples}
    for row in rows:
        look = by_id[row["id"]].picture.look()
        assert row["font_px"] == look.font_px and row["background"] == look.background
        assert row["angle"] == pytest.approx(look.angle, abs=1e-3)
        assert row["noise"] == pytest.approx(look.noise, abs=1e-4)
        assert (row["size"], row["seed"], row["font"]) == (224, 0, "DejaVuSans.ttf")
        assert row["split"] == by_id[row["id"]].split
    assert {bool(row["angle"]) for row in rows if row["variant"] == "rotation"} == {True}
    assert {row["background"] for row in rows} == {"", "drawn scene"}


def test_names_of_pictures_hold_no_text(examples) -> None:
    twin_with_the_same_text = [replace(e, id=f"{e.id}/other") for e in examples]
    examples = [*examples, *twin_with_the_same_text]
    names = [name_of(e) for e in examples]
    assert len(set(names)) == len(names)
    for name, example in zip(names, examples, strict=True):
        start = f"pictures/{example.metadata['code']}_{example.variant}_{example.safety}_"
        assert name.startswith(start) and name.endswith(".png") and len(name) == len(start) + 20


def test_a_selection_of_a_folder(folder: Path) -> None:
    found = read(folder, variants=["noise"]).examples
    assert {e.variant for e in found} == {"noise"} and len(found) == 4
    moved = read(folder, train=0.0, validation=0.0)
    assert {e.split for e in moved.examples} == {"test"}
    assert not moved.notes or "are in another split than manifest.jsonl" in moved.notes[0]
    everything = read(folder, train=1.0, validation=0.0)
    assert "of 24 examples are in another split" in everything.notes[0]


def test_fewer_per_category_are_those_that_would_be_rendered(tmp_path: Path) -> None:
    settings = {"variants": ["original"], "size": 224}
    three, one = (
        dualbench.load(DualBenchData(per_category=n, **settings)).examples for n in (3, 1)
    )
    write_set([e for e in three if e.metadata["code"] == "S1"], tmp_path / "set", {})
    found = read(tmp_path / "set", per_category=1, variants=["original"]).examples
    assert [e.id for e in found] == [e.id for e in one if e.metadata["code"] == "S1"]
    assert len(read(tmp_path / "set", per_category=None, variants=["original"]).examples) == 6


def test_a_variant_that_was_not_written_is_refused(tmp_path: Path, examples) -> None:
    write_set([e for e in examples if e.variant == "original"][:2], tmp_path / "one", {})
    with pytest.raises(CalibError, match="'real_background'.*has no pictures. It has original"):
        read(tmp_path / "one")


@pytest.mark.parametrize("key", ["twins", "backgrounds", "font", "translations"])
def test_what_would_be_left_out_is_refused(folder: Path, key: str) -> None:
    with pytest.raises(CalibError, match=f"data.{key} would be left out"):
        read(folder, **{key: "x"})


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibError, match=r"no manifest.jsonl.*calib.dualbench"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png", "C:\\x.png", "..\\x"])
def test_a_picture_outside_of_the_folder_is_refused(folder: Path, name: str) -> None:
    change(folder, 3, picture=name)
    with pytest.raises(CalibError, match="line 4: .* is no path inside"):
        read(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "pictures" / "link.png").symlink_to(tmp_path / "secret.png")
    change(folder, 0, picture="pictures/link.png")
    with pytest.raises(CalibError, match="line 1: .* is no path inside"):
        read(folder)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"text": 5}, "line 2: 'text' is no text"),
        ({"pair": ""}, "line 2: 'pair' is no text"),
        ({"variant": "mirror"}, "line 2: variant 'mirror'"),
        ({"safety": "harmful"}, "line 2: .*safety 'harmful'"),
        ({"code": "S13"}, "line 2: 'S13' is no hazard category"),
        ({"code": "S9"}, "line 2: code S9 is Indiscriminate Weapons, not 'Violent Crimes'"),
        ({"picture": "pictures/none.png"}, "1 of 24 pictures cannot be read"),
    ],
)
def test_a_damaged_line_is_named(folder: Path, fields, words: str) -> None:
    change(folder, 1, **fields)
    with pytest.raises(CalibError, match=words):
        read(folder)


def test_an_id_stands_once(folder: Path) -> None:
    row = json.loads((folder / MANIFEST).read_text().splitlines()[0])
    change(folder, 5, id=row["id"])
    with pytest.raises(CalibError, match=f"'{row['id']}' stands there twice"):
        read(folder)


def test_a_broken_picture_can_be_skipped(folder: Path) -> None:
    next((folder / "pictures").iterdir()).write_bytes(b"x")
    with pytest.raises(CalibError, match="1 of 24 pictures cannot be read"):
        read(folder)
    benchmark = read(folder, skip_broken=True)
    assert len(benchmark.examples) == 23 and "1 of 24 examples were left out" in benchmark.notes[0]
