"""The one exception a user is meant to read: bad input, never a bug of ours."""

import difflib
from collections.abc import Iterable


class CalibError(Exception):
    """Something the user can put right.

    The message says what was wrong, with which value, and what to do. At the command line it is
    printed without a traceback and the process exits with code 2.
    """


def did_you_mean(given: str, choices: Iterable[str]) -> str:
    """A hint " Did you mean 'x'?" for the closest of ``choices``, or "" when none is close."""
    close = difflib.get_close_matches(given, list(choices), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
