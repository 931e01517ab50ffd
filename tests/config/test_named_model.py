"""Names of models in figures and tables: ids as they are, folders without their path."""

import os

import pytest

from calib.config.named_model import model_name

NAMES = {
    "": "",
    "mini-internvl": "mini-internvl",
    "mini-internvl-2": "mini-internvl-2",
    "OpenGVLab/InternVL3-1B-hf": "OpenGVLab/InternVL3-1B-hf",
    "gpt2": "gpt2",
    "./built/smolvlm_emoji": "smolvlm_emoji",
    "built/smolvlm_emoji_guard/": "smolvlm_emoji_guard",
    "./converted/llava-v1.5-7b-Mixed": "vlguard",
    "/home/alice/weights/tuned": "tuned",
    "~/weights/tuned/": "tuned",
    "~alice": "~alice",
    "../a/b/checkpoint-500": "checkpoint-500",
    "C:\\Users\\alice\\tuned": "tuned",
    "/": "unnamed",
    "gpt:gpt-5.4-mini": "gpt:gpt-5.4-mini",
    "openrouter:google/gemini": "openrouter:google/gemini",
    "vllm:accounts/x/models/y": "vllm:accounts/x/models/y",
    "vllm:/home/alice/weights/tuned": "vllm:tuned",
    "vllm:./tuned": "vllm:tuned",
}


@pytest.mark.parametrize("checkpoint", NAMES)
def test_names(checkpoint: str) -> None:
    assert model_name(checkpoint) == NAMES[checkpoint]
    assert model_name(NAMES[checkpoint]) == NAMES[checkpoint] or checkpoint == "~alice"


def test_a_folder_that_is_written_like_an_id_is_a_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "weights" / "tuned").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert model_name("weights/tuned") == "tuned"
    assert model_name("weights/other") == "weights/other"
    assert model_name(".") == model_name("./") == tmp_path.name
    monkeypatch.chdir("weights")
    assert model_name(os.pardir) == tmp_path.name
