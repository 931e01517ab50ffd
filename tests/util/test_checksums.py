"""A flipped bit of a JSON object or of settings is found, or changes nothing."""

import json

import pytest

from calib.util.checksums import (
    checked_object,
    checked_settings,
    read_checked_object,
    read_checked_settings,
)

POINT = {"method": "steer", "strength": -2.5, "layer": None, "variants": {2: "a", 10: "b"}}
SETTINGS = "seed: 0\nmodel:\n  name: internvl\n"


def test_an_object_is_read_back_without_its_checksum():
    written = json.loads(json.dumps(checked_object(POINT)))
    assert list(written)[-1] == "crc32"
    assert read_checked_object(written) == json.loads(json.dumps(POINT))


def test_an_object_of_earlier_versions_has_no_checksum():
    assert read_checked_object({"a": 1}) == {"a": 1}


@pytest.mark.parametrize("change", [{"strength": 2.5}, {"new": 1}, {"crc32": "00000000"}])
def test_a_changed_object_is_found(change):
    with pytest.raises(ValueError, match="crc32"):
        read_checked_object({**checked_object(POINT), **change})


def test_settings_are_read_back_without_their_checksum():
    assert read_checked_settings(checked_settings(SETTINGS)) == SETTINGS.encode()
    assert read_checked_settings(SETTINGS.encode()) == SETTINGS.encode()


def test_a_flipped_bit_of_settings_is_found_unless_it_is_in_the_comment_alone():
    data = checked_settings(SETTINGS)
    for bit in range(8 * len(SETTINGS)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="crc32"):
            read_checked_settings(bytes(damaged))
