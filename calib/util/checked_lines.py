"""Lines of JSON with a checksum, which find a flipped bit.

The last key of a line, "crc32", is the CRC-32 of the bytes before it, in eight hexadecimal digits:

    {"row": "ab12", "response": "No.", "crc32": "1c3f8a90"}

Lines of earlier versions have none, and are read without the check.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from calib.util.checksums import KEY, crc32
from calib.util.reading import parse_json

_CHECKSUM = re.compile(rb', "crc32": "([0-9a-f]{8})"\}$')
_LIKE_CHECKSUM = re.compile(rb', "([^"]{5})": "[0-9a-f]{8}"\}$')


def checked_line(record: Mapping[str, Any]) -> bytes:
    """``record`` as a line of JSON with its checksum and a line break.

    Raises ValueError when it contains NaN or infinity, which JSON cannot express.
    """
    assert record and KEY not in record
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    # A lone surrogate has no UTF-8; backslashreplace writes it as JSON escapes it.
    body = text.encode("utf-8", "backslashreplace")[:-1]
    return body + f', "{KEY}": "{crc32(body)}"}}\n'.encode()


def read_checked_line(line: bytes) -> dict[str, Any]:
    """The object in a line, without its checksum.

    Raises ValueError, whose text continues "the line ...", when the line is not a JSON object or
    differs from its checksum.
    """
    checksum = _CHECKSUM.search(line)
    if checksum is not None:
        line, given = line[: checksum.start()], checksum[1].decode()
        if crc32(line) != given:
            raise ValueError(f"does not match its checksum (crc32 {given})")
        line += b"}"
    elif _is_damaged_checksum(line):
        raise ValueError("has a damaged checksum (crc32)")
    try:
        record = parse_json(line)
    except ValueError as error:
        raise ValueError("is not JSON") from error
    if not isinstance(record, dict):
        raise ValueError("is not a JSON object")
    if KEY in record:
        raise ValueError("has a damaged checksum (crc32)")
    return record


def _is_damaged_checksum(line: bytes) -> bool:
    """Whether a line ends as if by a checksum with one wrong letter in its key."""
    found = _LIKE_CHECKSUM.search(line)
    return found is not None and sum(map(int.__ne__, found[1], KEY.encode())) == 1
