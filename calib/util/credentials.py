"""Credentials inside addresses: messages end up in logs, and settings in the files of a run."""

import re

HIDDEN = "***"
_USER = re.compile(r"(?i)(://|url=)[^\s/?#'\"@]{1,1000}@")
"""The user name and password of an address, https://USER:PASSWORD@HOST."""
_PARAMETER = re.compile(
    r"(?i)([?&#][\w.-]{0,40}(?:key|token|secret|passw|pwd|auth|credential|signature)[\w.-]{0,40}=)"
    r"[^\s&#'\"]{1,10000}"
)
"""A parameter of an address that is a key by its name, HOST/v1?api_key=KEY."""


def without_credentials(text: str) -> str:
    """``text`` with user names, passwords and keys inside addresses replaced."""
    return _PARAMETER.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))
