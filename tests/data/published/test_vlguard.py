"""VLGuard: three subsets, its own test split, pictures in folders or zip archives."""

import json
import shutil
import zipfile

import huggingface_hub
import pytest
from raising import raises

from calib.config.data import PublishedData
from calib.data.benchmarks import load_benchmark
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
        for k, row in enumerate(rows):
            write(tmp_path / part / row["image"], picture(part, k))
    return tmp_path


def picture(part, k):
    """A colour and a side: every picture has its own content."""
    return ("red", 8 + k) if part == "train" else ("blue", 8 + k)


def zip_up(folder, png, nested=True):
    for part, rows in PARTS.items():
        (folder / f"{part}.json").write_text(json.dumps(rows), encoding="utf-8")
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for k, row in enumerate(rows):
                content = png("lime", 8 + k + 40 * (part == "test"))
                archive.writestr(f"{part}/" * nested + row["image"], content)


def whole(root, **settings):
    """The benchmark with its pictures opened, as a run loads it."""
    subsets = ["safe_safes", "safe_unsafes", "unsafes"]
    settings = {"subsets": subsets, "variants": ["photo"], **settings}
    return load_benchmark(PublishedData("vlguard", root=str(root), **settings))


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


@pytest.mark.parametrize("name", ["ads/no.png", "../../secret.png", ""])
def test_a_picture_missing_from_the_archive_is_refused_or_skipped(tmp_path, png, name):
    zip_up(tmp_path, png)
    rows = [*PARTS["test"], safe(9, name)]
    (tmp_path / "test.json").write_text(json.dumps(rows), encoding="utf-8")
    with raises("unreadable", "1 of 24 pictures", "test.zip", name, "data.skip_broken=true"):
        whole(tmp_path)
    benchmark = whole(tmp_path, skip_broken=True)
    assert len(benchmark.examples) == 44 and "2 of 46 examples" in benchmark.notes[-1]


def test_a_row_without_a_picture_is_refused_or_skipped(copy):
    (copy / "test.json").write_text(json.dumps([*PARTS["test"], safe(9, "")]), encoding="utf-8")
    with raises("unreadable", "row 3, column 'image'", "data.skip_broken=true"):
        whole(copy)
    assert len(whole(copy, skip_broken=True).examples) == 44


@pytest.mark.parametrize(("value", "label"), [("true", "safe"), ("False", "unsafe")])
def test_a_label_may_be_text(copy, load, value, label):
    row = {**safe(0, "ads/0.png"), "safe": value}
    row["instr-resp"] = [*SAFE, {"instruction": "Praise it.", "response": "No."}]
    (copy / "test.json").write_text(json.dumps([row]), encoding="utf-8")
    test = [e for e in load("vlguard", root=copy).examples if e.split == "test"]
    subsets = {"safe": ["safe_safes", "safe_unsafes"], "unsafe": ["unsafes"]}[label]
    assert [e.id for e in test] == [f"test/0/{subset}" for subset in subsets]


@pytest.mark.parametrize("value", ["yes", None, 2, "", []])
def test_a_label_that_is_neither_true_nor_false_is_refused(copy, refused, value):
    (copy / "test.json").write_text(
        json.dumps([{**safe(0, "ads/0.png"), "safe": value}]), encoding="utf-8"
    )
    refused("vlguard", "invalid-value", "row 1", f"safe is {value!r}", root=copy)


def test_a_picture_of_both_files_belongs_to_the_test_split(copy, load, write):
    # Another name with the same content; the names that agree have different contents.
    write(copy / "train" / "ads/7.png", picture("test", 0))
    benchmark = load("vlguard", root=copy, train=0.5, validation=0.5)
    moved = [e for e in benchmark.examples if e.id.startswith("train/") and e.split == "test"]
    assert [e.id for e in moved] == ["train/7/safe_safes", "train/7/safe_unsafes"]
    assert {e.pair for e in moved} == {"vlguard/test/ads/0.png"}
    (note,) = [note for note in benchmark.notes if "ads/7.png" in note]
    assert "n=1" in note
    assert len(pairs(benchmark.examples)) == 21


@pytest.mark.parametrize("zipped", [False, True])
def test_a_picture_with_both_labels_is_one_cluster_without_mixed_twins(
    copy, load, write, png, zipped
):
    if zipped:
        for part, rows in PARTS.items():
            with zipfile.ZipFile(copy / f"{part}.zip", "w") as archive:
                for k, row in enumerate(rows):
                    source = ("test", 0) if (part, k) == ("train", 20) else (part, k)
                    archive.writestr(row["image"], png(*picture(*source)))
            shutil.rmtree(copy / part)
    else:
        write(copy / "train" / "memes/20.png", picture("test", 0))
    benchmark = load("vlguard", root=copy)
    of_picture = [e for e in benchmark.examples if e.id.startswith(("train/20/", "test/0/"))]
    assert [(e.id, e.safety, e.split) for e in of_picture] == [
        ("train/20/unsafes", "unsafe", "test"),
        ("test/0/safe_safes", "safe", "test"),
        ("test/0/safe_unsafes", "unsafe", "test"),
    ]
    assert len({e.cluster for e in of_picture}) == 1
    assert [(p.safe.id, p.unsafe.id) for p in pairs(of_picture)] == [
        ("test/0/safe_safes", "test/0/safe_unsafes")
    ]
    assert any("memes/20.png" in note and "1 of them" in note for note in benchmark.notes)


def test_a_repeated_picture_of_the_training_set_is_one_pair(copy, load, write):
    write(copy / "train" / "ads/7.png", picture("train", 3))
    benchmark = load("vlguard", root=copy)
    repeated = [e for e in benchmark.examples if e.id.startswith(("train/3/", "train/7/"))]
    assert {e.pair for e in repeated} == {"vlguard/train/ads/3.png"}
    assert any("n=2" in note and "train/7/safe_safes" in note for note in benchmark.notes)


def test_the_test_set_alone_is_divided_into_all_splits(tmp_path, write, png):
    rows = [
        safe(k, f"ads/{k}.png", [{"safe_instruction": f"{k}?"}, {"unsafe_instruction": f"{k}!"}])
        for k in range(30)
    ]
    write(tmp_path / "test.json", rows)
    with zipfile.ZipFile(tmp_path / "test.zip", "w") as archive:
        for k, row in enumerate(rows):
            archive.writestr(f"test/{row['image']}", png("lime", 8 + k))
    benchmark = whole(tmp_path, train=0.3, validation=0.3)
    assert {e.split for e in benchmark.examples} == {"train", "validation", "test"}
    assert all(p.safe.split == p.unsafe.split for p in pairs(benchmark.examples))
    assert any("train.json" in note for note in benchmark.notes)
    whole_test = whole(tmp_path, train=0.0, validation=0.0)
    assert {e.split for e in whole_test.examples} == {"test"}
    assert not any("train.json" in note for note in whole_test.notes)


def test_only_the_test_set_is_downloaded_without_train_and_validation(
    tmp_path, load, png, monkeypatch
):
    zip_up(tmp_path, png)
    requests = []

    def snapshot_download(hub, **settings):
        requests.append(settings["allow_patterns"])
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    load("vlguard", train=0.0, validation=0.0)
    assert requests == [["test.json", "test.zip"]]


def test_a_picture_outside_the_folders_is_refused(copy, refused):
    (copy / "test.json").write_text(json.dumps([safe(0, "../../secret.png")]), encoding="utf-8")
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
    (copy / "test.json").write_text(json.dumps([safe(0, "ads/0.png", SAFE[:1])]), encoding="utf-8")
    benchmark = load("vlguard", root=copy)
    assert [e.id for e in benchmark.examples if e.split == "test"] == ["test/0/safe_safes"]
    assert any("test.json" in note and "n=1" in note for note in benchmark.notes)


@pytest.mark.parametrize("instructions", [None, "What?", ["What?"]])
def test_instructions_of_another_type_are_refused(copy, refused, instructions):
    (copy / "test.json").write_text(
        json.dumps([safe(0, "ads/0.png", instructions)]), encoding="utf-8"
    )
    refused("vlguard", "invalid-content", "row 1", "instr-resp", root=copy)
