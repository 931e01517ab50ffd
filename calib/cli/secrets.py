"""Refusal of settings that contain a key: they would be written to config.yaml and run.json."""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from calib.util.credentials import without_credentials
from calib.util.errors import CalibError

_INTERPOLATED = re.compile(r"\$\{\s*oc\.env\s*:\s*['\"]?(\w+)")
_WORDS = {
    "key", "keys", "apikey", "token", "tokens", "secret", "secrets", "password", "passwords",
    "passwd", "pass", "passphrase", "credential", "credentials", "pat", "authorization", "bearer",
    "jwt", "cookie",
}  # fmt: skip
"""Words by which the name of an environment variable says that its value is secret."""
SHORTEST = 12
"""Characters of the shortest value that is looked for; shorter ones are placeholders."""


def require_no_secrets(composed: DictConfig) -> None:
    """Raise CalibError (invalid-setting) if a setting interpolates an environment variable whose
    name is that of a key, contains the value of one, or has the name of a key itself, as further
    fields of requests may.

    The message names the setting and the variable, and never the value.
    """
    for setting, text in _texts(OmegaConf.to_container(composed, resolve=False)):
        for variable in _INTERPOLATED.findall(text):
            if is_secret_name(variable):
                raise _refusal(setting, variable)
    for setting, text in _texts(OmegaConf.to_container(composed, resolve=True)):
        _refuse_values(setting, text)
        if _is_key(setting) and len(text) >= SHORTEST:
            raise CalibError(
                "invalid-setting",
                f"{setting} is a key by its name, and settings are written to config.yaml and "
                "run.json. Keys are read from environment variables, whose names settings that end "
                "in key_env give.",
            )


def require_no_secrets_in(overrides: Iterable[str]) -> None:
    """Raise CalibError as require_no_secrets does for the values of a command line, which Hydra
    writes to multirun.yaml, and prints, before any of them is a setting."""
    for text in overrides:
        setting, equals, value = text.partition("=")
        if equals:
            _refuse_values(setting.lstrip("+~"), value)


def _refuse_values(setting: str, text: str) -> None:
    for variable, value in _secrets().items():
        if value in text:
            raise _refusal(setting, variable)
    if without_credentials(text) != text and not re.search(r"\s", text):
        raise CalibError(
            "invalid-setting",
            f"{setting} is an address with a user name, a password or a key, and settings are "
            "written to config.yaml and run.json. Give the plain address; keys are read from the "
            "environment variables that settings ending in key_env name.",
        )


def without_keys(text: str) -> str:
    """``text`` with the value of each environment variable that is a key by its name replaced by
    the name, as ${NAME}."""
    for variable, value in _secrets().items():
        text = text.replace(value, f"${{{variable}}}")
    return text


def _secrets() -> dict[str, str]:
    """The environment variables whose values are keys by their names."""
    return {
        name: value
        for name, value in os.environ.items()
        # A path is where a key is stored, and no key.
        if is_secret_name(name) and len(value) >= SHORTEST and not value.startswith(("/", "~"))
    }


def is_secret_name(variable: str) -> bool:
    """Whether the name of an environment variable says that its value is secret."""
    variable = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", variable)  # accessToken
    return not _WORDS.isdisjoint(variable.lower().split("_"))


def _is_key(setting: str) -> bool:
    """Whether the name of a setting says that its value is secret, e.g. model.extra.api_key."""
    name = setting.rpartition(".")[2].replace("-", "_")
    return is_secret_name(name) and not name.endswith("_env")


def _refusal(setting: str, variable: str) -> CalibError:
    return CalibError(
        "invalid-setting",
        f"{setting} contains the value of the environment variable {variable}, a key by its name, "
        "and settings are written to config.yaml and run.json. Where a setting ends in key_env, "
        f"give the name of the variable ({variable}); elsewhere, leave the key out.",
    )


def _texts(value: Any, setting: str = "") -> Iterator[tuple[str, str]]:
    """Every text and number among nested settings, with the dotted name of its setting."""
    if isinstance(value, str | int):  # a password of digits is a number to YAML
        yield setting, str(value)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _texts(part, f"{setting}.{name}".lstrip("."))
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part, setting)
