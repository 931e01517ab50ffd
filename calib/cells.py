"""Cells of CSV files that no spreadsheet runs as a formula, whatever text stands in them."""

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
"""What a spreadsheet would run (OWASP, CSV injection), also behind apostrophes already there."""


def spreadsheet_safe(text: str) -> str:
    """``text`` with an apostrophe in front where a spreadsheet would run it as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_spreadsheet(text: str) -> str:
    """What spreadsheet_safe was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text
