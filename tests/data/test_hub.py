"""What is read from the hub, with a folder on the disk in place of an id: no network."""

import io

import datasets
import huggingface_hub
import pytest
from huggingface_hub import constants
from PIL import Image

from calib.data.hub import download, read_hub, read_parquet
from calib.util.errors import CalibError


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (3, 3), colour).save(buffer, "PNG")
    return buffer.getvalue()


def stored(tmp_path, cells, declared=True):
    """A folder with one table, test.parquet: a column of numbers and one of pictures."""
    folder = tmp_path / "onhub"
    folder.mkdir()
    columns = {"number": list(range(len(cells))), "picture": cells}
    table = datasets.Dataset.from_dict(columns)
    if declared:
        table = table.cast_column("picture", datasets.Image())
    table.to_parquet(folder / "test.parquet")
    return folder


@pytest.mark.parametrize("declared", [True, False])
def test_rows_hold_pictures_that_are_fetched_when_asked_for(tmp_path, declared):
    folder = stored(tmp_path, [{"bytes": png("red"), "path": None}] * 2, declared)
    rows = read_hub(str(folder), None, "test", None)
    assert [row["number"] for row in rows] == [0, 1]
    assert rows[1]["picture"]().getpixel((0, 0)) == (255, 0, 0)
    assert str(rows[1]["picture"]) == f"{folder}, test row 1, column 'picture'"
    assert read_parquet(folder / "test.parquet")[1]["picture"]().size == (3, 3)


def test_an_empty_cell_says_where_it_is(tmp_path):
    folder = stored(tmp_path, [{"bytes": png("red"), "path": None}, {"bytes": None, "path": None}])
    picture = read_hub(str(folder), None, "test", None)[1]["picture"]
    with pytest.raises(CalibError, match="test row 1, column 'picture' is empty"):
        picture()


def test_a_picture_beside_the_table_is_read_and_one_elsewhere_is_not(tmp_path):
    inside, outside = tmp_path / "onhub" / "1.png", tmp_path / "2.png"
    link = tmp_path / "onhub" / "3.png"
    cells = [{"bytes": None, "path": str(path)} for path in (inside, outside, link)]
    folder = stored(tmp_path, cells, declared=False)
    for path in (inside, outside):
        path.write_bytes(png("blue"))
    link.symlink_to(outside)
    first, second, third = (row["picture"] for row in read_hub(str(folder), None, "test", None))
    assert first().getpixel((0, 0)) == (0, 0, 255)
    for picture in (second, third):
        with pytest.raises(CalibError, match="lies neither beside"):
            picture()
    inside.unlink()
    with pytest.raises(CalibError, match="1.png cannot be read"):
        first()


def test_a_split_that_is_not_there_is_refused_with_the_remedy(tmp_path):
    folder = stored(tmp_path, [{"bytes": png("red"), "path": None}])
    with pytest.raises(CalibError, match=r"split train cannot be read.*utility.root=FOLDER"):
        read_hub(str(folder), None, "train", None, "utility")


def test_a_parquet_file_that_is_missing_or_damaged_is_refused(tmp_path):
    with pytest.raises(CalibError, match="x.parquet is missing"):
        read_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(CalibError, match="cannot be read as parquet"):
        read_parquet(tmp_path / "x.parquet")


def test_files_are_fetched_at_a_revision_and_by_pattern(tmp_path, monkeypatch):
    asked = []

    def snapshot_download(hub, **settings):
        asked.append((hub, settings))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert download("a/b", ("*.json",), "v1") == tmp_path
    settings = {"repo_type": "dataset", "revision": "v1", "allow_patterns": ["*.json"]}
    assert asked == [("a/b", settings)]


def test_without_network_the_remedy_is_said():
    with pytest.raises(CalibError, match=r"a/b cannot be fetched from the hub: .*data.hub=ID"):
        download("a/b", ("*.json",), None)
