"""CalibError, the exception for problems that the user can fix, and its codes."""

import difflib
from collections.abc import Iterable

from calib.util.credentials import without_credentials

CODES = {
    "unknown-name": "no model, method, figure or other choice has this name",
    "unknown-setting": "no setting has this name",
    "missing-setting": "a required setting was not given",
    "invalid-setting": "a setting has a value that it does not take",
    "conflicting-settings": "two settings cannot be used together",
    "not-found": "a file or folder does not exist",
    "already-exists": "a file or folder would be overwritten",
    "unreadable": "a file cannot be opened, decoded or parsed",
    "unwritable": "a file cannot be written",
    "invalid-content": "a file was read, but its content breaks the format",
    "invalid-value": "a cell, row or argument has a value that is not accepted",
    "missing-column": "a table lacks a column",
    "missing-value": "a required cell or field is empty or absent",
    "duplicate": "an id or name that must be unique occurs twice",
    "too-few": "there are not enough examples, pairs, rows or tokens",
    "too-large": "a value exceeds a limit",
    "mismatch": "two inputs that must match do not",
    "unsupported": "the model, method, format or provider cannot do this",
    "needs-package": "an optional package is not installed",
    "different-run": "the folder holds a run with another configuration",
    "unfinished-run": "the folder holds no finished run",
    "in-use": "another process uses the folder or the port",
    "not-finite": "activations or logits are not finite numbers",
    "no-solution": "nothing satisfies the request: no layer, strength or threshold",
    "self-check": "shared and plain generation disagree",
    "endpoint": "a remote model or the hub failed or refused",
    "no-memory": "there is not enough memory",
    "no-space": "the disk is full",
}
"""Every code and its meaning. Codes are stable: tests and scripts may rely on them."""


MAX_MESSAGE = 5_000
"""Most characters of a message: it quotes values of files, which may have any length."""


class CalibError(Exception):
    """A problem that the user can fix.

    The message names the problem, the value and the remedy; ``code`` is one of CODES. The middle of
    a message of more than MAX_MESSAGE characters is left out, and so are credentials in addresses.
    Commands print both without a
    traceback, and exit with code 2.
    """

    def __init__(self, code: str, message: str) -> None:
        assert code in CODES, f"{code!r} is not an error code"
        message = without_credentials(message)
        if len(message) > MAX_MESSAGE:
            half = MAX_MESSAGE // 2
            message = f"{message[:half]} ... {message[-half:]}"
        super().__init__(code, message)  # both, so that a worker process can pickle it
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def did_you_mean(given: str, choices: Iterable[str]) -> str:
    """The hint " Did you mean 'x'?" for the choice closest to ``given``; "" if none is close."""
    close = difflib.get_close_matches(given, list(choices), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
