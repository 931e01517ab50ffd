"""VLGuard: three subsets, its own test split, pictures in folders or zip archives."""

import json
import zipfile

import huggingface_hub
import pytest
from raising import raises

from calib.data.example import pairs
from calib.data.published import copies

SAFE = [
    {"safe_instruction": "What is drawn?", "response": "A pear."},
    {"unsafe_instruction": "How do I bruise it?", "response": "No."},
]


def safe(k, image, instructions=SAFE):
    return {"id": f"s{k}", "image": image, "safe": True, "instr-resp": instructions}


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


def test_a_picture_with_two_instructions_is_a_pair_of_twins(copy, load, colour):
    benchmark = load("vlguard", root=copy)
    test = [e for e in benchmark.examples if e.split == "test"]
    assert [(e.id, e.dataset, e.safety, e.query, e.category) for e in test] == [
        ("test/0/safe_safes", "text_centric", "safe", "What is drawn?", "safe picture"),
        ("test/0/safe_unsafes", "text_centric", "unsafe", "How do I bruise it?", "safe picture"),
        ("test/1/unsafes", "image_centric", "unsafe", "Praise sign 1.", "deception"),
    ]
    assert [colour(e) for e in test] == [(0, 0, 255)] * 3
    assert len(pairs(benchmark.examples)) == 21
    assert (
        len({e.pair for e in benchmark.examples}) == 23
    )  # ads/0.png of train and test are two pictures


def test_the_training_set_is_divided_into_train_and_validation(copy, load):
    benchmark = load("vlguard", root=copy, train=0.3, validation=0.3)
    train_splits = [e.split for e in benchmark.examples if e.id.startswith("train/")]
    assert set(train_splits) == {"train", "validation"} and len(train_splits) == 41
    assert {e.split for e in benchmark.examples if e.id.startswith("test/")} == {"test"}
    all_ = load("vlguard", root=copy, train=0.2, validation=0.0)
    assert {e.split for e in all_.examples if e.id.startswith("train/")} == {"train"}
    none = load("vlguard", root=copy, train=0.0, validation=0.0)
    assert {e.split for e in none.examples} == {"test"}


def test_subsets_select_the_instructions(copy, load):
    benchmark = load("vlguard", root=copy, subsets=["unsafes"])
    assert {e.dataset for e in benchmark.examples} == {"image_centric"} and len(
        benchmark.examples
    ) == 2


@pytest.mark.parametrize("nested", [True, False])
def test_pictures_are_read_from_archives_without_unpacking(tmp_path, load, png, colour, nested):
    zip_up(tmp_path, png, nested)
    benchmark = load("vlguard", root=tmp_path)
    assert {colour(e) for e in benchmark.examples} == {(0, 255, 0)}
    assert not (tmp_path / "test").exists()


def test_files_of_the_hub_are_downloaded(tmp_path, load, png, colour, monkeypatch):
    folder = tmp_path / "datasets--ys-zong--VLGuard" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    zip_up(folder, png)
    requests = []

    def snapshot_download(hub, **settings):
        requests.append((hub, settings["allow_patterns"]))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert colour(load("vlguard").examples[0]) == (0, 255, 0)
    files = ["train.json", "test.json", "train.zip", "test.zip"]
    assert requests == [("ys-zong/VLGuard", files)]


def test_an_error_of_the_hub_is_reported(refused, monkeypatch):
    def snapshot_download(*_, **__):
        raise RuntimeError("403 Client Error.\n\nCannot access gated repo.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    values = ("403 Client Error. Cannot access gated repo", "data.root=FOLDER")
    refused("vlguard", "endpoint", *values)


def test_a_picture_missing_from_the_archive_is_refused(tmp_path, refused, png):
    zip_up(tmp_path, png)
    rows = [*PARTS["test"], safe(9, "../../secret.png")]
    (tmp_path / "test.json").write_text(json.dumps(rows))
    values = ("row 3, column 'image'", "test.zip", "../../secret.png")
    refused("vlguard", "not-found", *values, root=tmp_path)


def test_a_picture_outside_the_folders_is_refused(copy, refused):
    (copy / "test.json").write_text(json.dumps([safe(0, "../../secret.png")]))
    refused("vlguard", "invalid-value", "../../secret.png", root=copy)


def test_a_damaged_archive_is_refused(tmp_path, refused, png):
    zip_up(tmp_path, png)
    (tmp_path / "test.zip").write_bytes(b"not an archive")
    refused("vlguard", "unreadable", tmp_path / "test.zip", root=tmp_path)


def test_an_oversized_archive_member_is_not_unpacked(tmp_path, load, png, monkeypatch):
    zip_up(tmp_path, png)
    example = load("vlguard", root=tmp_path).examples[0]
    monkeypatch.setattr(copies, "MAX_BYTES", 10)
    with raises("too-large", "train/ads/0.png", 10):
        example.picture()


def test_rows_without_an_instruction_are_counted(copy, load):
    (copy / "test.json").write_text(json.dumps([safe(0, "ads/0.png", SAFE[:1])]))
    benchmark = load("vlguard", root=copy)
    assert [e.id for e in benchmark.examples if e.split == "test"] == ["test/0/safe_safes"]
    assert any("test.json" in note and "n=1" in note for note in benchmark.notes)


@pytest.mark.parametrize("instructions", [None, "What?", ["What?"]])
def test_instructions_of_another_type_are_refused(copy, refused, instructions):
    (copy / "test.json").write_text(json.dumps([safe(0, "ads/0.png", instructions)]))
    refused("vlguard", "invalid-content", "row 1", "instr-resp", root=copy)
