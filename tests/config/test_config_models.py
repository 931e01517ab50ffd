"""Settings of remote models: what is refused before anything is sent."""

import pytest
from composing import composed

from calib.config.model import RemoteModelConfig
from calib.config.schemas import CONF
from calib.util.errors import CalibError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": " "}, "model.model: the id is empty"),
        ({"base_url": "localhost:8000"}, "model.base_url: 'localhost:8000' is no address"),
        ({"limit_name": "max_token"}, "model.limit_name: 'max_token'.*'max_tokens'"),
        ({"sends": ["temprature"]}, "model.sends: 'temprature'.*'temperature'"),
        ({"most_temperature": -1.0}, "model.most_temperature: -1"),
        ({"extra": ["seed"]}, "model.extra: .* is no table"),
        ({"extra": {"seed": 1}}, "model.extra: 'seed' is decided by another setting"),
        ({"extra": {"stream": True}}, "model.extra: 'stream'"),
        ({"image_side": 0}, "model.image_side: 0"),
        ({"concurrency": 0}, "model.concurrency: 0"),
        ({"timeout": 0}, "model.timeout: 0"),
        ({"retries": -1}, "model.retries: -1"),
        ({"max_requests": 0}, "model.max_requests: 0"),
    ],
)
def test_values_that_mean_nothing_are_refused(given, words):
    with pytest.raises(CalibError, match=words):
        RemoteModelConfig(**given)


@pytest.mark.parametrize(
    "given",
    [{"key_env": "sk-made-up-0123"}, {"base_url": "https://me:sk-made-up-0123@example.org/v1"},
     {"base_url": "https://example.org/v1?key=sk-made-up-0123"}],
)  # fmt: skip
def test_what_may_be_a_key_is_refused_and_not_shown(given):
    with pytest.raises(CalibError, match="model.key_env") as told:
        RemoteModelConfig(**given)
    assert "made-up" not in str(told.value)


def test_the_providers_that_come_along():
    names = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    found = {name: composed("sweep", f"model={name}").model for name in names}
    remote = {name: one for name, one in found.items() if isinstance(one, RemoteModelConfig)}
    assert {name: (one.base_url, one.key_env) for name, one in remote.items()} == {
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
    assert "compatibility layer" in claude.note


def test_a_table_of_further_parts_comes_from_the_command_line():
    model = composed("sweep", "model=openrouter", "model.extra={provider:{order:[a]}}").model
    assert model.extra == {"provider": {"order": ["a"]}}
