"""Keys from the environment do not get into settings, which are written to files."""

import pytest
from omegaconf import OmegaConf
from raising import raises

from calib.cli.secrets import is_secret_name, require_no_secrets, require_no_secrets_in
from calib.config.checks import address
from calib.util.errors import CalibError

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


ADDRESSES = [
    f"https://user:{VALUE}@host/v1", f"ftp://{VALUE}@host", f"https://host/v1?api_key={VALUE}",
    f"https://host/v1?a=b&Token={VALUE}#x", f"https://user:{VALUE}@host:x/v1",
]  # fmt: skip


@pytest.mark.parametrize("text", ADDRESSES)
def test_credentials_in_an_address_are_neither_kept_nor_repeated(text):
    with raises("invalid-setting", "data.root") as caught:
        require_no_secrets(OmegaConf.create({"data": {"root": [text]}}))
    assert VALUE not in str(caught.value)
    for override in (f"data.root={text}", f"+data.root={text},http://a"):
        with raises("invalid-setting", "data.root") as caught:
            require_no_secrets_in([override])
        assert VALUE not in str(caught.value)
    with raises("invalid-setting", "data.base_url") as caught:
        address("data.base_url", text, "data.key_env")
    assert VALUE not in str(caught.value)
    error = CalibError("unreadable", f"Cannot read '{text}': it is gone.")
    assert VALUE not in str(error) and "it is gone" in str(error) and "host" in str(error)


@pytest.mark.parametrize("text", [f"user:{VALUE}@host/v1", f"http://ho st/?x={VALUE}"])
def test_what_is_no_address_but_may_hold_a_password_is_not_repeated(text):
    with raises("invalid-setting", "model.base_url") as caught:
        address("model.base_url", text, "model.key_env")
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["https://host/v1", "mail me@host.org", "a@b:c", "https://host/a@b", "x?page=2&keys", "5 @ 3",
     "Answer https://user:word@host in words."],
)  # fmt: skip
def test_other_texts_are_settings(text):
    require_no_secrets(OmegaConf.create({"data": {"root": text}}))


def test_a_command_line_is_refused_before_anything_is_written(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", VALUE)
    with raises("invalid-setting", "model.extra", "MY_API_KEY"):
        require_no_secrets_in(["seed=1,2", f"model.extra={{a: {VALUE}}}"])
    require_no_secrets_in(["seed=1,2", "-m", "~data"])


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
