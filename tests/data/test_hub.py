"""Reading from the hub, with a local folder instead of a dataset id (no network)."""

import io

import datasets
import huggingface_hub
import pytest
from huggingface_hub import constants
from PIL import Image
from raising import raises

from calib.data.hub import download, read_hub, read_parquet


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (3, 3), colour).save(buffer, "PNG")
    return buffer.getvalue()


def stored(tmp_path, cells, declared=True):
    """A folder with the table test.parquet, which has a column of numbers and one of pictures."""
    folder = tmp_path / "onhub"
    folder.mkdir()
    columns = {"number": list(range(len(cells))), "picture": cells}
    table = datasets.Dataset.from_dict(columns)
    if declared:
        table = table.cast_column("picture", datasets.Image())
    table.to_parquet(folder / "test.parquet")
    return folder


@pytest.mark.parametrize("declared", [True, False])
def test_pictures_are_fetched_when_they_are_opened(tmp_path, declared):
    folder = stored(tmp_path, [{"bytes": png("red"), "path": None}] * 2, declared)
    rows = read_hub(str(folder), None, "test", None)
    assert [row["number"] for row in rows] == [0, 1]
    assert rows[1]["picture"]().getpixel((0, 0)) == (255, 0, 0)
    assert str(rows[1]["picture"]) == f"{folder}, test row 2, column 'picture'"
    assert read_parquet(folder / "test.parquet")[1]["picture"]().size == (3, 3)


def test_an_empty_cell_is_named(tmp_path):
    folder = stored(tmp_path, [{"bytes": png("red"), "path": None}, {"bytes": None, "path": None}])
    picture = read_hub(str(folder), None, "test", None)[1]["picture"]
    with raises("missing-value", "test row 2, column 'picture'"):
        picture()


def test_a_picture_file_must_be_in_the_folder_of_the_table(tmp_path):
    inside, outside = tmp_path / "onhub" / "1.png", tmp_path / "2.png"
    link, relative = tmp_path / "onhub" / "3.png", "1.png"
    cells = [{"bytes": None, "path": str(path)} for path in (inside, outside, link, relative)]
    folder = stored(tmp_path, cells, declared=False)
    for path in (inside, outside):
        path.write_bytes(png("blue"))
    link.symlink_to(outside)
    first, second, third, fourth = (
        row["picture"] for row in read_hub(str(folder), None, "test", None)
    )
    for picture in (first, third, fourth):
        assert picture().getpixel((0, 0)) == (0, 0, 255)
    with raises("invalid-value", "2.png"):
        second()
    inside.unlink()
    with raises("unreadable", "1.png"):
        first()


def test_a_missing_split_is_reported(tmp_path):
    folder = stored(tmp_path, [{"bytes": png("red"), "path": None}])
    with raises("endpoint", "split train", "utility.root=FOLDER"):
        read_hub(str(folder), None, "train", None, "utility")


def test_a_missing_or_damaged_parquet_file_is_refused(tmp_path):
    with raises("not-found", "x.parquet"):
        read_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
    with raises("unreadable", "x.parquet"):
        read_parquet(tmp_path / "x.parquet")


def test_files_are_downloaded_at_a_revision_and_by_pattern(tmp_path, monkeypatch):
    requests = []

    def snapshot_download(hub, **settings):
        requests.append((hub, settings))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert download("a/b", ("*.json",), "v1") == tmp_path
    settings = {"repo_type": "dataset", "revision": "v1", "allow_patterns": ["*.json"]}
    assert requests == [("a/b", settings)]


def test_without_network_the_hub_error_suggests_another_source():
    with raises("endpoint", "a/b", "data.hub=ID"):
        download("a/b", ("*.json",), None)
