"""SIUO: from the repository, a snapshot of the hub, or downloaded from the hub."""

import huggingface_hub
import pytest


def rows(image="S-01.png"):
    return [
        {"question_id": 1001, "image": image, "question": "What goes with this tea?"}
        | {"category": "morality", "safety_warning": "w", "reference_answer": "r"}
    ]


@pytest.mark.parametrize("base", ["", "data"])
def test_both_layouts_of_a_local_copy(tmp_path, load, write, colour, base):
    write(tmp_path / base / "siuo_gen.json", rows())
    write(tmp_path / base / "images" / "S-01.png", "blue")
    (example,) = load("siuo", root=tmp_path, train=0.0, validation=1.0).examples
    assert example.split == "validation"
    assert (example.id, example.pair, example.safety) == ("siuo/1001", "siuo/1001", "unsafe")
    assert (example.dataset, example.category) == ("image_centric", "morality")
    assert example.query == "What goes with this tea?"
    assert colour(example) == (0, 0, 255)


def test_downloaded_files_may_be_links_into_the_cache(tmp_path, load, write, colour, monkeypatch):
    blobs = tmp_path / "datasets--sinwang--SIUO" / "blobs"
    folder = blobs.parent / "snapshots" / "abc"
    request = {}
    (folder / "images").mkdir(parents=True)
    write(blobs / "1.json", rows())
    write(blobs / "2", "lime")
    (folder / "siuo_gen.json").symlink_to(blobs / "1.json")
    (folder / "images" / "S-01.png").symlink_to(blobs / "2")

    def snapshot_download(hub, **settings):
        request.update(settings, hub=hub)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    (local,) = load("siuo", root=folder).examples
    assert colour(local) == (0, 255, 0)
    (example,) = load("siuo").examples
    assert colour(example) == (0, 255, 0)
    assert (request["hub"], request["revision"], request["repo_type"]) == (
        *("sinwang/SIUO", "main", "dataset"),
    )
    assert request["allow_patterns"] == ["siuo_gen.json", "images/*"]


def test_a_downloaded_table_cannot_name_a_file_outside_the_cache(
    tmp_path, refused, write, monkeypatch
):
    folder = tmp_path / "datasets--sinwang--SIUO" / "snapshots" / "abc"
    write(folder / "siuo_gen.json", rows("../../../../secret.png"))
    write(tmp_path / "secret.png", "red")
    (folder / "images").mkdir()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **s: str(folder))
    refused("siuo", "invalid-value", "secret.png")


def test_without_network_a_local_copy_is_suggested(refused):
    refused("siuo", "endpoint", "sinwang/SIUO", "data.root=FOLDER")


def test_missing_pictures_are_reported_with_their_source(tmp_path, refused, write):
    write(tmp_path / "data" / "siuo_gen.json", rows())
    refused("siuo", "not-found", tmp_path / "data", "images", "README", root=tmp_path)
