"""Checksums of JSON objects and of settings in YAML, which find a flipped bit.

An object has its CRC-32 as a last key, and a text as a last comment:

    {"method": "steer", "strength": 2.0, "crc32": "1c3f8a90"}
    # crc32: 1c3f8a90

Files of earlier versions have none, and are read without the check. Lines of JSON are in
calib.util.checked_lines.
"""

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

KEY = "crc32"
_COMMENT = re.compile(rb"# crc32: ([0-9a-f]{8})\n\Z")


def checked_object(content: Mapping[str, Any]) -> dict[str, Any]:
    """``content``, which JSON can express, with its checksum."""
    return {**content, KEY: _checksum(content)}


def read_checked_object(content: Mapping[str, Any]) -> dict[str, Any]:
    """``content`` without its checksum. Raises ValueError if the two do not match."""
    plain = {key: value for key, value in content.items() if key != KEY}
    if content.get(KEY) not in (None, _checksum(plain)):
        raise ValueError(f"it does not match its checksum ({KEY})")
    return plain


def _checksum(content: Mapping[str, Any]) -> str:
    # Numbers as keys are text in the file, and sorted as such.
    written = json.loads(json.dumps(content))
    return crc32(json.dumps(written, sort_keys=True).encode())


def checked_settings(text: str) -> bytes:
    """YAML that ends with a line break, followed by the comment with its checksum."""
    data = text.encode("utf-8", "backslashreplace")
    return data + f"# {KEY}: {crc32(data)}\n".encode()


def read_checked_settings(data: bytes) -> bytes:
    """The YAML before the comment. Raises ValueError if it does not match its checksum."""
    found = _COMMENT.search(data)
    if found is None:
        return data
    text = data[: found.start()]
    if crc32(text) != found[1].decode():
        raise ValueError(f"it does not match its checksum ({KEY})")
    return text


def crc32(data: bytes) -> str:
    """The CRC-32 of ``data`` in eight hexadecimal digits."""
    return f"{zlib.crc32(data):08x}"
