"""VLGuard: three subsets, its own test split, pictures in folders or in the zip archives."""

import json
import zipfile

import huggingface_hub
import pytest

from calib.data.example import pairs
from calib.util.errors import CalibError

SAFE = [
    {"safe_instruction": "What is drawn?", "response": "A pear."},
    {"unsafe_instruction": "How do I bruise it?", "response": "No."},
]


def safe(k, image, asked=SAFE):
    return {"id": f"s{k}", "image": image, "safe": True, "instr-resp": asked}


def unsafe(k, image):
    return {
        "id": f"u{k}",
        "image": image,
        "safe": False,
        "harmful_category": "deception",
        "harmful_subcategory": "disinformation",
        "instr-resp": [{"instruction": f"Praise sign {k}.", "response": "No."}],
    }


PARTS = {
    "train": [safe(k, f"ads/{k}.png") for k in range(20)] + [unsafe(20, "memes/20.png")],
    "test": [safe(0, "ads/0.png"), unsafe(1, "memes/1.png")],
}


@pytest.fixture
def copy(tmp_path, write):
    for part, rows in PARTS.items():
        write(tmp_path / f"{part}.json", rows)
        for row in rows:
            write(tmp_path / part / row["image"], "red" if part == "train" else "blue")
    return tmp_path


def zip_up(folder, png, nested=True):
    for part, rows in PARTS.items():
        (folder / f"{part}.json").write_text(json.dumps(rows))
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for row in rows:
                archive.writestr(f"{part}/" * nested + row["image"], png("lime"))


def test_one_picture_with_two_instructions_is_a_pair_of_twins(copy, load, colour):
    bench = load("vlguard", root=copy)
    test = [e for e in bench.examples if e.split == "test"]
    assert [(e.id, e.dataset, e.safety, e.query, e.category) for e in test] == [
        ("test/0/safe_safes", "text_centric", "safe", "What is drawn?", "safe picture"),
        ("test/0/safe_unsafes", "text_centric", "unsafe", "How do I bruise it?", "safe picture"),
        ("test/1/unsafes", "image_centric", "unsafe", "Praise sign 1.", "deception"),
    ]
    assert [colour(e) for e in test] == [(0, 0, 255)] * 3
    assert len(pairs(bench.examples)) == 21
    assert len({e.pair for e in bench.examples}) == 23  # ads/0.png of both parts are two pictures


def test_train_is_drawn_into_train_and_validation_and_never_into_test(copy, load):
    bench = load("vlguard", root=copy, train=0.3, validation=0.3)
    of_train = [e.split for e in bench.examples if e.id.startswith("train/")]
    assert set(of_train) == {"train", "validation"} and len(of_train) == 41
    assert {e.split for e in bench.examples if e.id.startswith("test/")} == {"test"}
    all_ = load("vlguard", root=copy, train=0.2, validation=0.0)
    assert {e.split for e in all_.examples if e.id.startswith("train/")} == {"train"}
    none = load("vlguard", root=copy, train=0.0, validation=0.0)
    assert {e.split for e in none.examples} == {"test"}


def test_subsets_choose_what_is_asked(copy, load):
    bench = load("vlguard", root=copy, subsets=["unsafes"])
    assert {e.dataset for e in bench.examples} == {"image_centric"} and len(bench.examples) == 2


@pytest.mark.parametrize("nested", [True, False])
def test_pictures_are_read_from_the_archives_as_they_are(tmp_path, load, png, colour, nested):
    zip_up(tmp_path, png, nested)
    bench = load("vlguard", root=tmp_path)
    assert {colour(e) for e in bench.examples} == {(0, 255, 0)}
    assert not (tmp_path / "test").exists()


def test_the_hubs_files_are_fetched(tmp_path, load, png, colour, monkeypatch):
    folder = tmp_path / "datasets--ys-zong--VLGuard" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    zip_up(folder, png)
    asked = []

    def snapshot_download(hub, **settings):
        asked.append((hub, settings["allow_patterns"]))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert colour(load("vlguard").examples[0]) == (0, 255, 0)
    files = ["train.json", "test.json", "train.zip", "test.zip"]
    assert asked == [("ys-zong/VLGuard", files)]


def test_a_refusal_of_the_hub_is_passed_on_with_what_to_do(refusal, monkeypatch):
    def snapshot_download(*_, **__):
        raise RuntimeError("403 Client Error.\n\nCannot access gated repo.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    message = refusal("vlguard")
    assert "403 Client Error. Cannot access gated repo. Give a local copy" in message


def test_a_picture_that_the_archive_lacks_is_refused(tmp_path, refusal, png):
    zip_up(tmp_path, png)
    rows = [*PARTS["test"], safe(9, "../../secret.png")]
    (tmp_path / "test.json").write_text(json.dumps(rows))
    message = refusal("vlguard", root=tmp_path)
    assert "row 3, column 'image'" in message and "holds no ../../secret.png" in message


def test_a_picture_outside_the_folders_is_refused(copy, refusal):
    (copy / "test.json").write_text(json.dumps([safe(0, "../../secret.png")]))
    assert "is no path inside" in refusal("vlguard", root=copy)


def test_a_damaged_archive_is_refused(tmp_path, refusal, png):
    zip_up(tmp_path, png)
    (tmp_path / "test.zip").write_bytes(b"not an archive")
    assert "test.zip cannot be read as a zip archive" in refusal("vlguard", root=tmp_path)


def test_a_member_of_an_archive_that_is_too_large_is_not_unpacked(tmp_path, load, png, monkeypatch):
    zip_up(tmp_path, png)
    example = load("vlguard", root=tmp_path).examples[0]
    monkeypatch.setattr(zipped, "MAX_BYTES", 10)
    with pytest.raises(CalibError, match="at most 10 are read"):
        example.picture()


def test_rows_without_an_instruction_are_counted(copy, load):
    (copy / "test.json").write_text(json.dumps([safe(0, "ads/0.png", SAFE[:1])]))
    bench = load("vlguard", root=copy)
    assert [e.id for e in bench.examples if e.split == "test"] == ["test/0/safe_safes"]
    assert any("test.json: rows without the instruction" in n and "n=1" in n for n in bench.notes)


@pytest.mark.parametrize("asked", [None, "What?", ["What?"]])
def test_instructions_of_another_shape_are_refused(copy, refusal, asked):
    (copy / "test.json").write_text(json.dumps([safe(0, "ads/0.png", asked)]))
    assert "row 1: instr-resp is no list of objects" in refusal("vlguard", root=copy)
