"""A flipped bit of any file of a run folder is found, or changes nothing that is read."""

import random

import pytest
from made_up_run import write_run
from raising import raises

from calib.runs.manifest import claim_folder, read_manifest
from calib.runs.run import Run
from calib.util.errors import CalibError

FLIPS = 40
FILES = ("run.json", "config.yaml", "examples.jsonl", "labels.jsonl", "rows.jsonl", "results.csv",
         "operating_points.json")  # fmt: skip


def read(folder):
    """Everything that is read of a run's folder."""
    run = Run.load(folder)
    return [
        repr(part)
        for part in (run.manifest, run.settings, run.operating_points, run.results, run.checkpoint,
                     run.examples, run.rows, run.judged, run.judge, run.methods)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("damage") / "run")
    identity = read_manifest(folder)["identity"]
    run = Run.load(folder)
    names = ("settings_text", "checkpoint", "results", "operating_points", "examples", "judged",
             "rows", "judge", "pictured")  # fmt: skip
    run.replace(**{name: getattr(run, name) for name in names}).write()
    (folder / "run.json").unlink()
    (folder / "rows.jsonl").rename(folder / "rows")
    claim_folder(folder, identity, {"date": "2026-11-30"})
    (folder / "rows").rename(folder / "rows.jsonl")
    return folder


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_or_harmless(folder, name):
    path = folder / name
    data, whole = path.read_bytes(), read(folder)
    found = 0
    try:
        for bit in random.Random(name).sample(range(8 * len(data)), FLIPS):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            try:
                assert read(folder) == whole, f"bit {bit}: {bytes(damaged)[bit // 8 - 40 :][:80]!r}"
            except CalibError as error:
                found += 1
                assert name in str(error) or error.code == "mismatch", error
    finally:
        path.write_bytes(data)
    assert found > FLIPS / 2


def test_tables_of_another_checkpoint_are_not_those_of_the_run(folder):
    path = folder / "results.csv"
    data = path.read_bytes()
    path.write_bytes(data.replace(b",mini-internvl,", b",mini-internvm,", 1))
    with raises("invalid-content", "results.csv", "mini-internvm"):
        read(folder)
    path.write_bytes(data)


def test_a_table_that_a_spreadsheet_wrote_in_another_form_is_read(folder):
    """Other line breaks, a byte order mark, sorted lines and fewer decimals change no number."""
    path = folder / "results.csv"
    data, before = path.read_bytes(), Run.load(folder).results
    head, *lines = data.decode().splitlines()
    lines = [line.replace(".500000,", ".5,") for line in reversed(lines)]
    path.write_bytes("\r\n".join(["\ufeff" + head, *lines, ""]).encode())
    assert sorted(map(repr, Run.load(folder).results)) == sorted(map(repr, before))
    path.write_bytes(data)
