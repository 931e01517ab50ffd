"""Decode the text of a table: UTF-8, or UTF-16 and Windows-1252 as spreadsheet programs write.

Windows-1252 (cp1252) is what Excel calls CSV in Western Europe and America; UTF-16 with tabs is its
"Unicode text". Any bytes can be read as one of several code pages, so a text is only taken for
Windows-1252 if it looks like a Western language, and the note quotes a word to check.
"""

import codecs
import re

from calib.data.formats.strict_csv import AdvisedError
from calib.util.content import START, found_instead

SAVE = "Save it as UTF-8"
_IMPLAUSIBLE = re.compile(
    "[ŠŒŽšœžŸƒÀ-ÖØ-öø-ÿ]{3}"  # three accented letters in a row: another alphabet
    "|[a-z][ŠŒŽŸÀ-ÖØ-Þ]"  # a capital within a word: a code page of Mac OS or of the East
    "|[A-Za-zÀ-ÿ][†‡‰¡-©«¬¯±-³µ¶¸¹»-¿×÷][A-Za-zÀ-ÿ]"  # a sign within a word
)
_ACCENTED = re.compile("[ŠŒŽšœžŸÀ-ÖØ-öø-ÿ]+")
_WORD = re.compile(r"[^\s;,|\"]*[^\x00-\x7f][^\s;,|\"]*")


def decoded(data: bytes, recognise: bool) -> tuple[str, str]:
    """The text of a file and, if it is not UTF-8, a note on its encoding ("" otherwise).

    Unless ``recognise``, only UTF-8 is read, with or without a byte order mark. Raises ValueError
    for other content and unknown encodings, with the line.
    """
    if data and (instead := found_instead(data[:START])):
        raise ValueError(f"it is {instead}")
    if encoding := _utf_16(data) if recognise else None:
        return _decoded_utf_16(data, encoding)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise AdvisedError(f"its text is UTF-16, as some programs export. {SAVE}")
    try:
        text, note = data.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"line {line} has the byte 0x{data[error.start]:02x}, which is not UTF-8"
        if not recognise:
            raise AdvisedError(f"{found}. {SAVE}") from None
        text, note = _windows_1252(data, found)
    if (zero := text.find("\0")) >= 0:
        raise ValueError(f"line {text.count(chr(10), 0, zero) + 1} has a zero byte")
    return text, note


def _utf_16(data: bytes) -> str | None:
    """The byte order of text in UTF-16; None for other text."""
    if data.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if data.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    start = data[:START]
    if len(start) < 8 or b"\0" not in start:
        return None
    # Without a mark: letters of English are zero bytes and ASCII in turn.
    for encoding, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
        if zeros.count(0) > 0.9 * len(zeros):
            return encoding
    return None


def _decoded_utf_16(data: bytes, encoding: str) -> tuple[str, str]:
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.decode(encoding, "replace")[: error.start // 2].count("\n") + 1
        raise AdvisedError(f"its text is UTF-16, and line {line} is damaged. {SAVE}") from None
    if (zero := text.find("\0")) >= 0:
        raise ValueError(f"line {text.count(chr(10), 0, zero) + 1} has a zero byte")
    return text, "its text is UTF-16, and was read as such"


def _accents_in_clusters(text: str) -> re.Match[str] | None:
    """The first of several accented letters side by side, if most of them are, as in texts of Asian
    code pages; None for Western languages, where few words have two (créée)."""
    runs = list(_ACCENTED.finditer(text))
    clusters = [run for run in runs if len(run[0].replace("éé", "é")) > 1]
    side_by_side = sum(len(run[0]) for run in clusters)
    return clusters[0] if 2 * side_by_side > sum(len(run[0]) for run in runs) else None


def _windows_1252(data: bytes, found: str) -> tuple[str, str]:
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise AdvisedError(f"{found} (nor is the text Windows-1252). {SAVE}") from None
    if match := _IMPLAUSIBLE.search(text) or _accents_in_clusters(text):
        # The quoted text would be wrong characters in the user's own language.
        line = text.count("\n", 0, match.start()) + 1
        raise AdvisedError(
            f"{found}, and line {line} does not look like Windows-1252 either, so that its "
            f"encoding is unclear. {SAVE}"
        )
    words = list(dict.fromkeys(_WORD.findall(text)))
    quoted = ", ".join(f"'{word[:40]}'" for word in words[:3])
    return text, (
        f"its text is not UTF-8 and was read as Windows-1252 (cp1252): check {quoted}. If they are "
        "wrong, save it as UTF-8"
    )
