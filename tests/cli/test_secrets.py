"""Keys from the environment do not get into settings, which are written to files."""

import pytest
from omegaconf import OmegaConf
from raising import raises

from calib.cli.secrets import is_secret_name, require_no_secrets

VALUE = "sesame-open-1234"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("OPENAI_API_KEY", True), ("HF_TOKEN", True), ("db_password", True), ("A_SECRET_ID", True),
        ("Authorization", True), ("accessToken", True), ("MY_Bearer", True), ("MonkeyRun", False),
        ("HOME", False), ("KEYBOARD", False), ("SSH_AUTH_SOCK", False), ("MONKEY", False),
    ],
)  # fmt: skip
def test_names_of_keys(name, secret):
    assert is_secret_name(name) == secret


@pytest.mark.parametrize(
    "text",
    ["${oc.env:MY_API_KEY}", "http://x/${oc.env:MY_API_KEY,none}",
     "${oc.decode:${oc.env:MY_API_KEY}}", VALUE, f"http://user:{VALUE}@host/",
     "${oc.env:${nested.name}}"],
)  # fmt: skip
def test_a_key_in_a_setting_is_refused_without_its_value(monkeypatch, text):
    monkeypatch.setenv("MY_API_KEY", VALUE)
    config = {"model": {"urls": ["a", text]}, "nested": {"name": "MY_API_KEY"}}
    with raises("invalid-setting", "model.urls", "MY_API_KEY") as caught:
        require_no_secrets(OmegaConf.create(config))
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize("value", [VALUE, 123456789012, [VALUE]])
@pytest.mark.parametrize("name", ["api_key", "x-api-key", "Token", "client_secret", "accessToken"])
def test_a_key_among_further_fields_is_refused_without_its_value(name, value):
    config = OmegaConf.create({"model": {"extra": {"headers": {name: value}}}})
    with raises("invalid-setting", f"model.extra.headers.{name}") as caught:
        require_no_secrets(config)
    assert VALUE not in str(caught.value) and "123456789012" not in str(caught.value)


def test_other_variables_and_names_of_keys_are_settings(monkeypatch):
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.setenv("SHORT_KEY", "none")
    monkeypatch.setenv("KEY", "/keys/of/mine.json")
    config = {
        "root": "${oc.env:DATA}",
        "key_env": "THE_NAME_OF_MY_API_KEY",
        "token": "none",
        "a": "none",
        "b": "/keys/of/mine.json",
    }
    require_no_secrets(OmegaConf.create(config))
