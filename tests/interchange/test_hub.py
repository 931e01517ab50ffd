"""Uploads and downloads, with a local hub in place of huggingface_hub's connections."""

import huggingface_hub
import pytest
from raising import raises
from random_directions import direction_at
from tiny_families import tiny

from calib.directions.direction import write_direction
from calib.interchange.hub import from_hub, model_card, push_to_hub
from calib.util.errors import CalibError


class Hub:
    """Repositories by name, each with its files."""

    def __init__(self):
        self.files, self.private, self.commits = {}, {}, 0

    def create_repo(self, repo, *, private, exist_ok):
        assert exist_ok
        self.files.setdefault(repo, {})
        self.private.setdefault(repo, private)
        return f"https://hub.example/{repo}"

    def list_repo_files(self, repo):
        return [".gitattributes", *self.files[repo]]

    def create_commit(self, repo, operations, *, commit_message):
        self.commits += 1
        for operation in operations:
            with operation.as_file() as file:
                self.files[repo][operation.path_in_repo] = file.read()

    def download(self, repo, file, *, revision):
        self.downloaded = (repo, file, revision)
        if file not in self.files.get(repo, {}):
            raise huggingface_hub.errors.EntryNotFoundError(f"404: no {file}\nsecond line")
        self.cache.write_bytes(self.files[repo][file])
        return str(self.cache)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    made = Hub()
    made.cache = tmp_path / "cached.safetensors"
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made.download)
    return made


def files(tmp_path, **changes):
    path = tmp_path / "d.safetensors"
    write_direction(path, direction_at(tiny("internvl"), [1, 3], **changes))
    return {"README.md": b"# card", "direction.safetensors": path}


def test_upload_and_download(hub, tmp_path):
    made = files(tmp_path)
    assert push_to_hub("me/refusal", made, private=True) == "https://hub.example/me/refusal"
    assert hub.private == {"me/refusal": True} and hub.commits == 1
    assert hub.files["me/refusal"] == {
        "README.md": b"# card",
        "direction.safetensors": made["direction.safetensors"].read_bytes(),
    }
    assert from_hub("me/refusal", "v1").layers == [1, 3]
    assert hub.downloaded == ("me/refusal", "direction.safetensors", "v1")
    # A repository of a direction may be updated.
    push_to_hub("me/refusal", files(tmp_path, strength=2.0), private=True)
    assert from_hub("me/refusal").strength == 2.0


def test_a_public_repository_only_on_request(hub, tmp_path):
    push_to_hub("me/open", files(tmp_path), private=False)
    assert hub.private == {"me/open": False}


def test_a_repository_of_something_else_is_not_overwritten(hub, tmp_path):
    hub.files["me/model"] = {"README.md": b"a model", "model.safetensors": b""}
    with raises("already-exists", "push=me/model"):
        push_to_hub("me/model", files(tmp_path), private=True)
    assert hub.files["me/model"]["README.md"] == b"a model"


@pytest.mark.parametrize("name", ["refusal", "a/b/c", "../x/y", "https://hub/a/b", "a b/c", ""])
def test_an_invalid_repository_name(hub, tmp_path, name):
    with raises("invalid-setting", f"'{name}'", "push=USER/NAME"):
        push_to_hub(name, files(tmp_path), private=True)
    with raises("invalid-setting", f"'{name}'", "hub=USER/NAME"):
        from_hub(name)
    assert not hub.files


def test_errors_of_the_hub(hub, tmp_path, monkeypatch):
    def refuse(*args, **settings):
        raise OSError("401 Unauthorized\nlong story")

    monkeypatch.setattr(hub, "create_commit", refuse)
    with raises("endpoint", "push=me/refusal", "401 Unauthorized", "hf auth login"):
        push_to_hub("me/refusal", files(tmp_path), private=True)
    with raises("endpoint", "hub=me/nothing", "direction.safetensors", "404"):
        from_hub("me/nothing")


def test_only_direction_files_are_downloaded(hub):
    hub.files["me/x"] = {"direction.safetensors": b"\x00" * 16, "d.pt": b""}
    with raises("invalid-setting", "'d.pt'", ".safetensors"):
        from_hub("me/x", file="d.pt")
    with pytest.raises(CalibError) as caught:
        from_hub("me/x")
    assert str(hub.cache) in str(caught.value)


def test_the_card_has_the_hubs_metadata():
    assert model_card("# card", "OpenGVLab/InternVL3-1B-hf") == (
        b"---\nbase_model: OpenGVLab/InternVL3-1B-hf\ntags:\n- calib\n- steering-vector\n---\n\n"
        b"# card"
    )
    assert b"base_model" not in model_card("# card", "mini-internvl")
    assert b"base_model" not in model_card("# card", "a/b\nlicense: mit")
