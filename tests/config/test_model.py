"""Settings of remote models: invalid ones are refused before anything is sent."""

import pytest
from composing import composed, option
from raising import raises

from calib.config.commands import ConvertConfig
from calib.config.engine import VllmChoice
from calib.config.judge import ClassifierJudge
from calib.config.model import ModelConfig, RemoteModelConfig
from calib.config.schemas import CONF
from calib.data.hub import download, read_hub


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ({"model": " "}, ["model.model"]),
        ({"base_url": "localhost:8000"}, ["model.base_url", "'localhost:8000'"]),
        ({"limit_name": "max_token"}, ["model.limit_name", "'max_token'", "'max_tokens'"]),
        ({"sends": ["temprature"]}, ["model.sends", "'temprature'", "'temperature'"]),
        ({"most_temperature": -1.0}, ["model.most_temperature", -1]),
        ({"extra": ["seed"]}, ["model.extra", ["seed"]]),
        ({"image_side": 0}, ["model.image_side", 0]),
        ({"concurrency": 0}, ["model.concurrency", 0]),
        ({"timeout": 0}, ["model.timeout", 0]),
        ({"retries": -1}, ["model.retries", -1]),
        ({"max_requests": 0}, ["model.max_requests", 0]),
    ],
)
def test_invalid_values_are_refused(settings, values):
    with raises("invalid-setting", *values):
        RemoteModelConfig(**settings)


BLANK = [
    *((ModelConfig, {"name": "m"}, f"model.{key}") for key in (
        "name", "revision", "device_map", "attention", "chat_template")),
    (RemoteModelConfig, {}, "model.name"),
    *((ClassifierJudge, {}, f"judge.{key}") for key in ("revision", "device_map", "checkpoint")),
    (VllmChoice, {}, "engine.served_model"),
    *((ConvertConfig, {"source": "a", "out": "b"}, key) for key in (
        "source", "revision", "skeleton_revision")),
]  # fmt: skip


@pytest.mark.parametrize("blank", ["", " \t"])
@pytest.mark.parametrize(("schema", "required", "key"), BLANK)
def test_a_blank_does_not_stand_for_the_default(schema, required, key, blank):
    with raises("invalid-setting", key):
        schema(**{**required, key.rpartition(".")[2]: blank})


@pytest.mark.parametrize("read", [read_hub, download])
@pytest.mark.parametrize(("hub", "revision"), [(" ", None), ("a/b", "")])
def test_a_blank_is_no_data_set_of_the_hub(read, hub, revision):
    key = "utility.revision" if hub.strip() else "utility.hub"
    with raises("invalid-setting", key):
        read(hub, *((None, "test") if read is read_hub else ([],)), revision, "utility")


@pytest.mark.parametrize("name", ["seed", "stream"])
def test_a_further_field_must_not_be_set_elsewhere(name):
    with raises("conflicting-settings", "model.extra", f"'{name}'"):
        RemoteModelConfig(extra={name: 1})


@pytest.mark.parametrize(
    "settings",
    [{"key_env": "sk-made-up-0123"}, {"base_url": "https://me:sk-made-up-0123@example.org/v1"},
     {"base_url": "https://example.org/v1?key=sk-made-up-0123"},
     {"base_url": "https://example.org/v1#sk-made-up-0123"}],
)  # fmt: skip
def test_a_possible_key_is_refused_and_not_repeated(settings):
    with raises("invalid-setting", "model.key_env") as refused:
        RemoteModelConfig(**settings)
    assert "made-up" not in str(refused.value)


def test_the_providers_in_conf():
    names = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    models = {name: composed("sweep", *option("model", name)).model for name in names}
    remote = {name: model for name, model in models.items() if isinstance(model, RemoteModelConfig)}
    assert {name: (model.base_url, model.key_env) for name, model in remote.items()} == {
        "gpt": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
        "claude": ("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
        "gemini": (
            "https://generativelanguage.googleapis.com/v1beta/openai",
            "GEMINI_API_KEY",
        ),
        "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        "vllm": ("http://localhost:8000/v1", "VLLM_API_KEY"),
    }
    claude = remote["claude"]
    assert (claude.most_temperature, "seed" in claude.sends) == (1.0, False)
    assert claude.note


def test_further_fields_come_from_the_command_line():
    model = composed("sweep", "model=openrouter", "model.extra={provider:{order:[a]}}").model
    assert model.extra == {"provider": {"order": ["a"]}}
