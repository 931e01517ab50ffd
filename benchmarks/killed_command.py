"""A command of calib whose progress is logged for the kill harness, or that kills itself.

    python -m benchmarks.killed_command LOG POINT calib.sweep method=steer out=run

appends one line per event to LOG, which survives a SIGKILL: the start and end of each step whose
progress calib shows, its finished rows, requests to an endpoint, and calls that change files in the
current folder. POINT is one of the latter lines, such as "replace before labels.jsonl", at which
the process sends SIGKILL to itself; "-" means none.
"""

import importlib.util
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOT_ROWS = ("reading", "cost of", "checking")
"""First words of steps whose items are not rows."""


def main(log: str, point: str, module: str, *arguments: str) -> None:
    """Run ``module`` as a command, logged."""
    record = recorder(Path(log))
    record(f"> {os.getpid()}")
    log_progress(record)
    log_requests(record)
    inject(Path.cwd(), record, None if point == "-" else point)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def recorder(path: Path) -> Callable[[str], None]:
    """A function that appends a line with the time to ``path`` in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    write = os.write  # inject replaces it

    def record(line: str) -> None:
        write(descriptor, f"{time.monotonic():.4f} {line}\n".encode())

    return record


def log_progress(record: Callable[[str], None]) -> None:
    """Log the steps that calib shows as progress: "+ NAME", "- NAME", and "row NUMBER" for finished
    rows."""
    from calib.util.progress import Step

    enter, leave, update = Step.__enter__, Step.__exit__, Step.update

    def logged_enter(step: Step) -> Step:
        record(f"+ {step.name}")
        return enter(step)

    def logged_exit(step: Step, *error: Any) -> None:
        leave(step, *error)
        record(f"- {step.name}")

    def logged_update(step: Step, count: int = 1) -> None:
        record(f"{'item' if step.name.startswith(NOT_ROWS) else 'row'} {count}")
        update(step, count)

    Step.__enter__, Step.__exit__ = logged_enter, logged_exit  # type: ignore[method-assign]
    Step.update = logged_update  # type: ignore[method-assign]


def log_requests(record: Callable[[str], None]) -> None:
    """Log "sent" for each request to an endpoint's chat completions, less those that found no
    server."""
    # The library of the package openai, which takes longer to import.
    name = next((name for name in ("httpx2", "httpx") if importlib.util.find_spec(name)), None)
    if name is None:
        return
    library: Any = importlib.import_module(name)
    send = library.Client.send

    def logged_send(client: Any, request: Any, **settings: Any) -> Any:
        is_row = request.url.path.endswith("/chat/completions")
        if is_row:
            record("sent")
        try:
            return send(client, request, **settings)
        except library.ConnectError:
            if is_row:
                record("sent -1")
            raise

    library.Client.send = logged_send


def inject(
    folder: Path, record: Callable[[str], None] = lambda line: None, point: str | None = None
) -> None:
    """Log calls that change files within ``folder``, and send SIGKILL at ``point``."""
    import fcntl

    from calib.util.files import TEMPORARY

    def reach(call: str, moment: str, path: str) -> None:
        if not Path(path).is_absolute():
            path = str(Path.cwd() / path)
        if not Path(path).is_relative_to(folder):
            return
        name = Path(path).name
        name = found["name"] if (found := TEMPORARY.fullmatch(name)) else name
        event = f"{call} {moment} {name}"
        record(event)
        if event == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(module: Any, call: str, path_of: Callable[..., str]) -> None:
        original = getattr(module, call)

        def called(*given: Any, **named: Any) -> Any:
            path = path_of(*given)
            reach(call, "before", path)
            if call == "write" and len(given[1]) > 1:
                half = len(given[1]) // 2
                written = original(given[0], given[1][:half])
                reach(call, "within", path)
                return written + original(given[0], given[1][written:])
            result = original(*given, **named)
            reach(call, "after", path)
            return result

        setattr(module, call, called)

    def opened(descriptor: int, *_: Any) -> str:
        try:
            return str(Path(f"/proc/self/fd/{descriptor}").readlink())
        except OSError:
            return "/"

    for call in ("replace", "rename"):
        around(os, call, lambda source, target: os.fspath(target))
    for call in ("fsync", "write", "ftruncate"):
        around(os, call, opened)
    around(fcntl, "flock", opened)


if __name__ == "__main__":
    main(*sys.argv[1:])
