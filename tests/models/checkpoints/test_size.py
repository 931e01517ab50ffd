"""Configs that describe a much larger model than the weights are refused before it is made."""

import json
import shutil

import pytest
import torch
from raising import raises

from calib.config.model import ModelConfig
from calib.models.checkpoints.size import MAX_BLOCKS, require_few_blocks
from calib.models.load import load, mini_folder


def checkpoint(tmp_path, **changes):
    folder = shutil.copytree(mini_folder(), tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for part, settings in changes.items():
        config[part] = config[part] | settings if settings else settings
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return ModelConfig("internvl", str(folder))


@pytest.mark.parametrize(
    "changes",
    [
        {"text_config": None},
        {"vision_config": None},
        {"text_config": {"hidden_size": 2**20}},
        {"vision_config": {"image_size": [10**6, 10**6]}},
    ],
)
def test_nothing_is_allocated_for_a_larger_model(tmp_path, monkeypatch, changes):
    def allocated(*_, **__):
        raise AssertionError("the model was made")

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", allocated)
    with raises("mismatch", "model.checkpoint=", "config.json"):
        load(checkpoint(tmp_path, **changes))


@pytest.mark.parametrize("key", ["num_hidden_layers", "depth", "n_heads", "num_labels", "n_layer"])
def test_the_number_of_blocks_is_limited(key):
    require_few_blocks(
        "model.checkpoint=a", {"text_config": {key: MAX_BLOCKS}, "vocab_size": 10**6}
    )
    with raises("too-large", "model.checkpoint=a", f"{key}=1001"):
        require_few_blocks("model.checkpoint=a", {"text_config": [{key: MAX_BLOCKS + 1}]})


def test_a_model_in_bfloat16_has_as_many_values(tmp_path):
    config = checkpoint(tmp_path)
    config.dtype = "bfloat16"
    assert load(config).model.dtype == torch.bfloat16
