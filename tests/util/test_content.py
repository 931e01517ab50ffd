"""Recognising content that is saved in place of the file that was meant."""

import gzip

import pytest

from calib.util.content import (
    first_bytes,
    found_instead,
    in_place_of,
    is_lfs_pointer,
    quoted_text,
)

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (POINTER, "Git LFS"),
        (b"\n <!DOCTYPE HTML>\n<html>", "HTML"),
        (b"\xef\xbb\xbf<html lang='en'>", "HTML"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "SVG"),
        (gzip.compress(b"id,query\n", mtime=0), "gzip"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"\0\0\0\x20ftypheic", "HEIC"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"II*\0rest", "TIFF"),
    ],
)
def test_other_content_is_named(content, kind):
    assert kind in str(found_instead(content))


@pytest.mark.parametrize(
    "content", [b"id,query\n1,a\n", b'{"a": "<html>"}', b"\xff\xfeh\0t\0", b"x"]
)
def test_content_of_tables_has_no_other_name(content):
    assert found_instead(content) is None


def test_a_pointer_and_a_quotation():
    assert is_lfs_pointer(POINTER) and not is_lfs_pointer(POINTER[1:])
    assert quoted_text(b"Entry not found\nmore") == "'Entry not found'"
    assert quoted_text(b"\x89PNG\r\n") is None
    assert quoted_text(b" \n") is None


def test_the_beginning_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 600)
    assert first_bytes(tmp_path / "a") == b"x" * 512
    assert first_bytes(tmp_path / "none") == b""


def test_the_content_in_place_of_a_file_or_the_error_of_its_parser(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(POINTER)
    assert "Git LFS" in in_place_of(path, b"PK", "no zip file")
    path.write_bytes(b"PK\x03\x04 and the rest is missing")
    assert in_place_of(path, b"PK", ValueError("no zip file")) == "no zip file"
    assert in_place_of(path, b"PK", EOFError()) == "EOFError"
