"""Errors that vLLM logs while it starts.

vLLM's engine runs in a process of its own. If that fails to start, vllm.LLM raises an error that
refers to the log, and the reason is in the log only.
"""

import contextlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_SETTING = "VLLM_LOGGING_CONFIG_PATH"
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): (.+)$", re.MULTILINE)
"""Last line of a traceback."""
_NO_REASON = ("initialization failed", "background process")
"""Parts of errors that only say that another process failed."""
_HANDLER = {"class": "logging.FileHandler", "level": "ERROR", "encoding": "utf-8", "delay": True}


@contextlib.contextmanager
def logged_errors() -> Iterator[Callable[[], str]]:
    """Copy what vLLM logs as an error into a temporary file; yields a function that returns the
    last reason in it, "" if there is none.

    A forked engine inherits this process's handler; a spawned one reads the logging settings
    anew. Settings of the user's own are left alone.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        log = Path(folder, "errors.log")
        handler = logging.FileHandler(log, encoding="utf-8", delay=True)
        handler.setLevel(logging.ERROR)
        logger = logging.getLogger("vllm")
        logger.addHandler(handler)
        stack.callback(handler.close)
        stack.callback(logger.removeHandler, handler)
        if _SETTING not in os.environ and _write_settings(Path(folder, "logging.json"), log):
            os.environ[_SETTING] = str(Path(folder, "logging.json"))
            stack.callback(os.environ.pop, _SETTING, None)
        yield lambda: last_reason(log.read_text("utf-8", errors="replace") if log.exists() else "")


def last_reason(log: str) -> str:
    """The message of the last error in tracebacks that says more than that a process failed."""
    reasons = [reason.strip() for reason in _ERROR.findall(log)]
    telling = [reason for reason in reasons if not any(part in reason for part in _NO_REASON)]
    return telling[-1] if telling else ""


def _write_settings(target: Path, log: Path) -> bool:
    """Write vLLM's own logging settings plus a file for errors; False if vLLM has none."""
    try:
        from vllm.logger import DEFAULT_LOGGING_CONFIG as defaults
    except ImportError:
        return False
    if os.environ.get("VLLM_CONFIGURE_LOGGING", "1") == "0":
        return False
    logger = defaults["loggers"]["vllm"]
    handlers = {**defaults["handlers"], "errors": {**_HANDLER, "filename": str(log)}}
    loggers = {"vllm": {**logger, "handlers": [*logger["handlers"], "errors"]}}
    settings = {**defaults, "handlers": handlers, "loggers": loggers}
    target.write_text(json.dumps(settings), "utf-8")
    return True
