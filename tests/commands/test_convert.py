"""calib.convert: convert a checkpoint in the original LLaVA-1.5 format to transformers format."""

import csv

import pytest
import torch
from composing import composed
from naive_loop import inputs
from original_llava import original, pair, tower, write
from raising import raises
from safetensors.torch import load_file
from tiny_families import examples

from calib import convert, sweep
from calib.config.model import ModelConfig
from calib.models.checkpoints import original_llava
from calib.models.load import load


def converted(source, skeleton, out, *more):
    convert.main(
        composed("convert", f"source={source}", f"skeleton={skeleton}", f"out={out}", *more)
    )
    return load(ModelConfig("vlguard", checkpoint=str(out), device_map="cpu"))


def logits(model, vlm):
    with torch.no_grad():
        return [model(**inputs(vlm, example)).logits for example in examples(3)]


@pytest.mark.parametrize(
    "form", ["safetensors", "safetensors sharded", "bin", "bin sharded"], ids=str
)
def test_the_converted_model_computes_the_original_logits(form, skeleton, tmp_path):
    source = write(tmp_path / "llava-v1.5-7b-Mixed-lora", original(pair()[0]), form)
    vlm = converted(source, skeleton, tmp_path / "out")
    expected, before = logits(pair()[0], vlm), logits(pair()[1], vlm)
    after = logits(vlm.model, vlm)
    for converted_logits, tuned, untuned in zip(after, expected, before, strict=True):
        assert torch.equal(converted_logits, tuned)
        assert not torch.allclose(converted_logits, untuned, atol=0.1)


def test_the_folder_is_complete_and_names_its_origin(source, skeleton, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    vlm = converted(source, skeleton, out)
    said = capsys.readouterr().out
    assert f"model=vlguard model.checkpoint={out}" in said
    assert "note: the checkpoint contains no vision tower" in said
    assert "note: the original code pads images" in said
    note = (out / "README.md").read_text(encoding="utf-8")
    assert f"from {source}," in note and f"with {skeleton} as" in note
    assert f"{len(original(pair()[0])) - 5} weights come from the checkpoint, in float32" in note
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= {
        p.name for p in out.iterdir()
    }
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    rows = pair()[1].config.image_token_id
    table = vlm.model.get_input_embeddings().weight
    assert torch.equal(table[rows:], pair()[1].get_input_embeddings().weight[rows:])


def test_the_checkpoints_vision_tower_is_used(skeleton, tmp_path, capsys):
    weights = original(pair()[0]) | tower(pair()[0])
    converted(write(tmp_path / "same", weights), skeleton, tmp_path / "out")
    assert "the checkpoint's vision tower equals the skeleton's" in capsys.readouterr().out
    changed = next(name for name in weights if name.endswith("patch_embedding.weight"))
    weights[changed] = weights[changed] * 2
    vlm = converted(write(tmp_path / "other", weights), skeleton, tmp_path / "trained")
    assert (
        f"1 of {len(tower(pair()[0]))} weights of the checkpoint's vision"
        in capsys.readouterr().out
    )
    weight = next(
        w for n, w in vlm.model.named_parameters() if n.endswith("patch_embedding.weight")
    )
    assert torch.equal(weight, weights[changed])


def test_the_type_is_the_checkpoints_or_one_that_represents_all(skeleton, tmp_path):
    half = {name: w.to(torch.bfloat16) for name, w in original(pair()[0]).items()}
    source = write(tmp_path / "half", half)
    converted(source, skeleton, tmp_path / "out")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert {w.dtype for w in saved.values()} == {torch.bfloat16}
    mixed = half | {"model.norm.weight": half["model.norm.weight"].to(torch.float16)}
    converted(write(tmp_path / "mixed", mixed), skeleton, tmp_path / "wide")
    saved = load_file(tmp_path / "wide" / "model.safetensors")
    assert {w.dtype for w in saved.values()} == {torch.float32}
    name = next(name for name in saved if name.endswith("layers.1.mlp.up_proj.weight"))
    assert torch.equal(saved[name], half["model.layers.1.mlp.up_proj.weight"].float())


@pytest.mark.usefixtures("undrawn")
def test_a_sweep_runs_on_the_converted_checkpoint(source, skeleton, tmp_path):
    out = tmp_path / "out"
    converted(source, skeleton, out)
    sweep.main(
        composed(
            "sweep", "model=vlguard", f"model.checkpoint={out}", "model.dtype=float32",
            "judge=string", "data.limit=2", "data.parts=[image_centric]", "utility.limit=2",
            "method=steer", "method.layers=[2]", "method.strengths=[4]",
            "generation.max_new_tokens=2", "method@reference=none", f"out={tmp_path / 'run'}",
        )
    )  # fmt: skip
    with (tmp_path / "run" / "results.csv").open(newline="", encoding="utf-8") as file:
        assert {float(r["strength"]) for r in csv.DictReader(file)} == {0.0, 4.0}


# --- downloads


def test_pickled_weights_are_downloaded_only_without_safetensors(tmp_path, monkeypatch):
    downloads = []

    def download(repo, revision, allow_patterns):
        downloads.append((repo, revision, allow_patterns))
        folder = tmp_path / "snapshots" / "0a1b"
        folder.mkdir(parents=True, exist_ok=True)
        if "pytorch_model*.bin" in allow_patterns or repo == "me/safe":
            name = "model.safetensors" if repo == "me/safe" else "pytorch_model.bin"
            (folder / name).touch()
        return str(folder)

    monkeypatch.setattr(original_llava, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    assert original_llava.download_checkpoint("me/old", "v1") == (
        tmp_path / "snapshots" / "0a1b",
        "0a1b",
    )
    json_files = ["config.json", "*.index.json"]
    assert downloads == [
        ("me/old", "v1", [*json_files, "model*.safetensors"]),
        ("me/old", "v1", [*json_files, "pytorch_model*.bin"]),
    ]
    downloads.clear()
    original_llava.download_checkpoint("me/safe", None)
    assert [patterns[-1] for _, _, patterns in downloads] == ["model*.safetensors"]


@pytest.mark.parametrize("name", ["no-such-org/no-such-model", "./no/such/folder", "a b"])
def test_a_missing_source(name):
    with raises("not-found", f"source={name}"):
        original_llava.download_checkpoint(name, None)


def test_a_revision_of_a_folder(tmp_path):
    with raises("conflicting-settings", "revision=main", f"source={tmp_path}"):
        original_llava.download_checkpoint(str(tmp_path), "main")
