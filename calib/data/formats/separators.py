"""Recognise the separator of a table of text: spreadsheet programs write semicolons in countries
with a decimal comma."""

import csv
import io
import re
from itertools import islice

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
ROWS = 20
"""Rows that are compared with the header."""
_STATED = re.compile(r'"?sep=([,;\t|])"?[ \t]*(?=\r|\n|\Z)', re.IGNORECASE)
"""The first line by which Excel is told the separator."""


def recognised(text: str, own: str) -> tuple[str, str, str]:
    """The text, its separator and a note, "" if it is the format's ``own`` separator.

    A line sep=; at the start decides, and is emptied in the text, so that lines keep their numbers.
    Otherwise a separator is recognised if the first ROWS rows have as many cells as the header,
    which has at least two; ``own`` wins where several do.
    """
    csv.field_size_limit(len(text) + 1)  # a picture in a cell is longer than the default limit
    if stated := _STATED.match(text):
        separator = stated[1]
        text = text[stated.end() :]
    else:
        fitting = [sign for sign in (own, *SEPARATORS) if _fits(text, sign)]
        header = text.lstrip().partition("\n")[0]
        most = max(SEPARATORS, key=header.count)
        # Where no separator fits, the error should name the row of the one that is probably meant.
        separator = fitting[0] if fitting else own if own in header or most not in header else most
    if separator == own:
        return text, own, ""
    return text, separator, f"its cells are separated by {SEPARATORS[separator]}, and were read so"


def _fits(text: str, separator: str) -> bool:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        counts = [len(cells) for cells in islice(filter(None, reader), ROWS)]
    except csv.Error:
        return False
    return bool(counts) and counts[0] > 1 and set(counts) == {counts[0]}
