"""Quantization: the settings passed to transformers, and errors if it is not available."""

import pytest
import torch
from raising import raises

from calib.config.model import ModelConfig
from calib.models.load import quantization_settings


@pytest.fixture
def possible(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "bitsandbytes")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    # It checks the version of the installed package.
    monkeypatch.setattr("transformers.BitsAndBytesConfig.post_init", lambda self: None)


def settings_for(**settings):
    return quantization_settings(ModelConfig("m", **settings))


def test_no_settings_without_quantization():
    assert settings_for() == {}


def test_four_bits(possible):
    config = settings_for(quantization="4bit", dtype="bfloat16")["quantization_config"]
    assert config.load_in_4bit and not config.load_in_8bit
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_compute_dtype == torch.bfloat16


def test_eight_bits(possible):
    config = settings_for(quantization="8bit")["quantization_config"]
    assert config.load_in_8bit and not config.load_in_4bit


def test_the_compute_type_with_dtype_auto(possible):
    config = settings_for(quantization="4bit", dtype="auto")["quantization_config"]
    assert config.bnb_4bit_compute_dtype == torch.float32


def test_without_the_package(possible, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with raises("needs-package", "model.quantization=4bit", "pip install 'calib[quant]'"):
        settings_for(quantization="4bit")


def test_without_a_gpu(possible, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with raises("unsupported", "model.quantization=8bit", "model.dtype=bfloat16"):
        settings_for(quantization="8bit")


def test_an_unknown_quantization():
    with raises("invalid-setting", "model.quantization", "'4bits'", "'4bit'"):
        settings_for(quantization="4bits")
