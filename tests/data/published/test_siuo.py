"""SIUO: from the repository, the hub's snapshot, or fetched from the hub."""

from pathlib import Path

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


def test_the_hubs_files_are_links_into_its_cache(tmp_path, load, write, colour, monkeypatch):
    blobs = tmp_path / "datasets--sinwang--SIUO" / "blobs"
    folder = blobs.parent / "snapshots" / "abc"
    asked = {}
    (folder / "images").mkdir(parents=True)
    write(blobs / "1.json", rows())
    write(blobs / "2", "lime")
    (folder / "siuo_gen.json").symlink_to(blobs / "1.json")
    (folder / "images" / "S-01.png").symlink_to(blobs / "2")

    def snapshot_download(hub, **settings):
        asked.update(settings, hub=hub)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    (example,) = load("siuo").examples
    assert colour(example) == (0, 255, 0)
    assert (asked["hub"], asked["revision"], asked["repo_type"]) == (
        *("sinwang/SIUO", "main", "dataset"),
    )
    assert asked["allow_patterns"] == ["siuo_gen.json", "images/*"]


def test_a_fetched_table_cannot_name_a_file_outside_the_cache(
    tmp_path, refusal, write, monkeypatch
):
    folder = tmp_path / "datasets--sinwang--SIUO" / "snapshots" / "abc"
    write(folder / "siuo_gen.json", rows("../../../../secret.png"))
    write(tmp_path / "secret.png", "red")
    (folder / "images").mkdir()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **s: str(folder))
    assert "is no path inside" in refusal("siuo")


def test_without_network_the_remedy_is_said(refusal):
    message = refusal("siuo")
    assert "sinwang/SIUO cannot be fetched from the hub" in message
    assert "data.root=FOLDER" in message


def test_without_the_pictures_it_is_said_where_they_are(tmp_path, refusal, write):
    write(tmp_path / "data" / "siuo_gen.json", rows())
    message = refusal("siuo", root=tmp_path)
    assert f"{tmp_path / 'data'} holds no folder images" in message and "README" in message


def test_a_link_out_of_the_copy_is_refused(tmp_path, refusal, write):
    copy: Path = tmp_path / "copy"
    write(copy / "siuo_gen.json", rows())
    write(tmp_path / "elsewhere.png", "red")
    (copy / "images").mkdir()
    (copy / "images" / "S-01.png").symlink_to(tmp_path / "elsewhere.png")
    assert "is no path inside" in refusal("siuo", root=copy)
