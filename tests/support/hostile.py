"""Hostile inputs: what each is, how it is made, and what must become of it.

An input ends in a CalibError, or in an error of the API of calib.serve. One that is ``harmless``
may also be accepted. The message fits a terminal. Nothing is written outside of the folder of the
input, no process is started, no other machine is reached, no pickled object is found, and nothing
hangs:

    outcome(Hostile("an empty file", make), Place(tmp_path, shared))
"""

import contextlib
import faulthandler
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import FrameType
from typing import Any

from in_process import Done

from calib.serving.api_errors import APIError
from calib.util.errors import CODES, CalibError
from calib.util.terminal import terminal_safe

PATIENCE = 45
"""Seconds of this process's CPU time after which an input hangs, far above what any takes."""
WAIT = 900
"""Seconds on the clock after which it hangs: a loaded machine may take twenty times PATIENCE."""
MEMORY = 3 * 2**30
"""Bytes of address space that an input may take beyond what the process has."""
LONGEST = 5_300
"""Most characters of a message, with the names of the command and of the code."""


@dataclass
class Shared:
    """What the inputs of a session share: made once, and copied before it is damaged."""

    folder: Path
    vlm: Any

    @cached_property
    def run(self) -> Path:
        from made_up_run import write_run

        return write_run(self.folder / "run")

    @cached_property
    def guard(self) -> Path:
        import tiny_classifiers

        return tiny_classifiers.guard(self.folder / "guard")

    @cached_property
    def sequence(self) -> Path:
        import tiny_classifiers

        return tiny_classifiers.sequence(self.folder / "sequence")


@dataclass
class Place:
    """The folder of one input, with what it may take from ``shared``."""

    folder: Path
    shared: Shared


@dataclass(frozen=True)
class Hostile:
    """One input."""

    what: str
    make: Callable[[Place], Callable[[], Any]]
    """Writes its files; the result opens them."""
    harmless: bool = False
    """Whether it may also be accepted."""
    code: str | None = None
    """The code of its error, where only one is right."""

    def __str__(self) -> str:
        return self.what


class Hangs(BaseException):
    """An input took longer than PATIENCE or WAIT."""


def outcome(hostile: Hostile, place: Place) -> CalibError | APIError | Done | None:
    """Open the input; its error, or None if it was accepted. Fails for any other end."""
    call = hostile.make(place)
    with _patience(), _little_memory(), watched(place.folder) as seen:
        try:
            result = call()
        except (CalibError, APIError) as error:
            result = error
        except Hangs:
            # pytest cannot show a traceback that a signal began inside an expression.
            raise AssertionError(f"{hostile.what} hangs") from None
    assert not seen, f"{hostile.what}: {seen}"
    assert not list(place.folder.parent.glob("canary*")), f"{hostile.what} ran code"
    if isinstance(result, Done):
        assert result.code in (0, 2), f"exit code {result.code}: {result.stderr}"
        assert "Traceback" not in result.stderr, result.stderr
        for line in result.stderr.splitlines() + result.stdout.splitlines():
            assert terminal_safe(line) == line.expandtabs(1).replace("\t", " "), repr(line)
        message, failed = result.stderr, result.code == 2
        code = message.partition("[")[2].partition("]")[0] if failed else None
    else:
        failed = isinstance(result, CalibError | APIError)
        message, code = str(result) if failed else "", getattr(result, "code", None)
        if isinstance(result, APIError):
            assert 400 <= result.status < 500, f"{result.status}: {message}"
    assert len(message) <= LONGEST, f"a message of {len(message)} characters"
    if failed and not isinstance(result, APIError):
        assert code in CODES, message
    if hostile.code is not None:
        assert code == hostile.code, f"{code}: {message}"
    assert failed or hostile.harmless, f"{hostile.what} was accepted: {result!r:.300}"
    return result if failed else None


def canary(place: Place) -> str:
    """A shell command that shows that it was run."""
    return f"touch {place.folder.parent / 'canary'}"


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Hangs

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, PATIENCE),
        signal.SIGALRM: (signal.ITIMER_REAL, WAIT),
    }
    before = {number: signal.signal(number, stop) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    # Libraries in C and Rust are not interrupted by it.
    faulthandler.dump_traceback_later(2 * WAIT, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """A limit on the address space of the process, on systems that have one and count it."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        yield
        return
    import resource

    pages = int(status.read_text(encoding="ascii").split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (wanted, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


_watched: list[tuple[Path, list[str]]] = []
"""The folder in which files may be written, and what was done elsewhere."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = (
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "shutil.rmtree", "shutil.move", "shutil.copyfile",
)  # fmt: skip
_PROCESSES = (
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork",
    "pty.spawn", "os.startfile",
)  # fmt: skip
_PLACES = (str(os.devnull), "/proc/", "/dev/shm/")
_ADDRESSES = ("127.0.0.1", "::1", "localhost")


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """What the block does outside of ``folder`` that it must not: writes, processes, connections,
    and objects of pickles."""
    _install_hook()
    seen: list[str] = []
    _watched.append((folder.resolve(), seen))
    try:
        yield seen
    finally:
        _watched.pop()


@cache
def _install_hook() -> None:
    """Install the hook once: it cannot be removed."""
    sys.addaudithook(_note)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    folder, seen = _watched[-1]
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & _WRITES and not _may_write(path, folder):
            seen.append(f"open {path!r} to write")
    elif event == "os.mkdir" and Path(arguments[0]).is_dir():
        pass  # it exists, so nothing is made
    elif event in _CHANGES:
        paths = [path for path in arguments if isinstance(path, str | bytes | os.PathLike)]
        outside = [path for path in paths if not _may_write(path, folder)]
        if outside:
            seen.append(f"{event} {outside!r}")
    elif event in _PROCESSES:
        # run.json records the commit, and the openai package the processor.
        if Path(str(arguments[0])).name not in ("git", "uname"):
            seen.append(f"{event} {arguments!r:.200}")
    elif event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and address[0] not in _ADDRESSES:
            seen.append(f"connection to {address!r}")
    elif event == "pickle.find_class":
        seen.append(f"{event} {arguments!r}")


def _may_write(path: Any, folder: Path) -> bool:
    if isinstance(path, int):
        return True
    text = os.fsdecode(path)
    if text.startswith(_PLACES) or "__pycache__" in text:
        return True
    # Links may lead out of the folder. Path.resolve would be slower.
    real = os.path.realpath(text)
    inside = (str(folder), os.path.realpath(tempfile.gettempdir()) + "/tmp")
    return real.startswith(inside)
