"""The API key of an endpoint, which is never written: not to files, messages or replies."""

import ipaddress
import os
import urllib.parse
from dataclasses import dataclass, field

from calib.util.errors import CalibError

SECRET_LENGTH = 12
"""Keys shorter than this are placeholders for servers that need none (EMPTY, none). They are not
redacted, because they may be ordinary words of a reply."""


@dataclass(frozen=True)
class ApiKey:
    """A key from an environment variable; "" if the endpoint needs none."""

    value: str = field(repr=False)

    @property
    def is_secret(self) -> bool:
        """Whether the key is one, and no placeholder."""
        return len(self.value) >= SECRET_LENGTH

    def is_in(self, text: str) -> bool:
        """Whether the key occurs in ``text``."""
        return self.is_secret and self.value in text

    def redact(self, text: str) -> str:
        """``text`` without the key."""
        return text.replace(self.value, "***") if self.is_secret else text


def read_key(variable: str, setting: str) -> ApiKey:
    """The key in the environment variable that ``setting`` names; "" if it is not set.

    Raises CalibError if the key has characters that no header may contain.
    """
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise CalibError(
            "invalid-setting",
            f"The environment variable {variable} ({setting}) contains characters that are not "
            "allowed in a key, e.g. a line break. Set it again.",
        )
    return ApiKey(key)


def require_key(variable: str, setting: str, url: str) -> ApiKey:
    """The key for an endpoint, which only servers on this machine may do without.

    Raises CalibError if it is not set, or as ``read_key`` does.
    """
    key = read_key(variable, setting)
    if not key.value and not _is_loopback(url):
        raise CalibError(
            "missing-setting",
            f"The environment variable {variable} ({setting}) is not set, but {url} needs a "
            f"key. Set it with export {variable}=..., or name another variable with {setting}.",
        )
    return key


def _is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
