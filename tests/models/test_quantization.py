"""Quantization: what is asked of transformers, and what is refused where it cannot be had."""

import pytest
import torch

from calib.config.model import ModelConfig
from calib.models.load import quantization_settings
from calib.util.errors import CalibError


@pytest.fixture
def possible(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "bitsandbytes")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    # It asks the installed package for its version.
    monkeypatch.setattr("transformers.BitsAndBytesConfig.post_init", lambda self: None)


def asked(**settings):
    return quantization_settings(ModelConfig("m", **settings))


def test_without_it_nothing_is_asked():
    assert asked() == {}


def test_four_bits(possible):
    config = asked(quantization="4bit", dtype="bfloat16")["quantization_config"]
    assert config.load_in_4bit and not config.load_in_8bit
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_compute_dtype == torch.bfloat16


def test_eight_bits(possible):
    config = asked(quantization="8bit")["quantization_config"]
    assert config.load_in_8bit and not config.load_in_4bit


def test_the_type_as_stored(possible):
    config = asked(quantization="4bit", dtype="auto")["quantization_config"]
    assert config.bnb_4bit_compute_dtype == torch.float32


def test_without_the_package(possible, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CalibError, match=r"quantization=4bit needs .*pip install 'calib\[quant\]'"):
        asked(quantization="4bit")


def test_without_a_gpu(possible, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(CalibError, match="quantization=8bit needs a GPU.*model.dtype=bfloat16"):
        asked(quantization="8bit")


def test_what_is_no_quantization():
    with pytest.raises(CalibError, match="model.quantization: '4bits' .*Did you mean '4bit'"):
        asked(quantization="4bits")
