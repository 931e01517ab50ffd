"""Runs calib's commands in this process, and prints the addresses and programs that each one used.

    python tests/support/watched_commands.py FOLDER     # the run and other files go into FOLDER

The audit hook is installed before anything else is imported. It sees the sockets of Python code,
and refuses to look up or connect to another host.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

AT_CONNECTION = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg")
AT_LOOKUP = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
AT_START = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
LOOPBACK = ("127.0.0.1", "::1", "localhost")

used: dict[str, list[str]] = {}
"""By step, the hosts and programs that it used, in order."""
step = "import"


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Record a host or a program; refuse a host that is not this machine."""
    if event in AT_START:
        name = arguments[1][0] if event == "subprocess.Popen" else arguments[0]
        used.setdefault(step, []).append(f"program {str(name).rpartition('/')[2]}")
        return
    if event not in (*AT_CONNECTION, *AT_LOOKUP):
        return
    address = arguments[1] if event in AT_CONNECTION else arguments[0]
    if isinstance(address, str) and event in AT_CONNECTION:  # a Unix socket
        return
    host = str(address[0] if isinstance(address, tuple) else address)
    used.setdefault(step, []).append(host)
    if host not in LOOPBACK:
        raise PermissionError(f"{event} {host}")


sys.addaudithook(watch)

import contextlib  # noqa: E402 - after the hook
import importlib  # noqa: E402
import os  # noqa: E402
import pkgutil  # noqa: E402
import signal  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
import urllib.request  # noqa: E402
from pathlib import Path  # noqa: E402

SMALL = (
    "data.limit=12", "utility.limit=4", "generation.max_new_tokens=4", "method@reference=none",
)  # fmt: skip


def import_everything() -> None:
    import calib

    for module in pkgutil.walk_packages(calib.__path__, "calib."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def calib_command(name: str, *arguments: str) -> None:
    from in_process import command

    done = command(name, *arguments)
    assert done.code == 0, f"calib.{name}: {done.stderr}"


def judged_by_an_endpoint(run: Path) -> None:
    from local_endpoint import LocalEndpoint, says

    axes = {"reason": "", "refusal": "none", "harm": "no", "warning": "no", "relevant": "yes"}
    with LocalEndpoint(says(json.dumps(axes))) as server:
        settings = ("judge=llm", "judge.models=[m]", f"judge.base_url={server.url}")
        calib_command("judge", f"run={run}", *settings)


def served(run: Path) -> None:
    """Serve, answer one request, and stop by a signal."""
    from ports import free_port

    port, replies = free_port(), []

    def ask() -> None:
        body = {"model": "mini", "messages": [{"role": "user", "content": "Hello"}]}
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/health", timeout=60).close()
                break
            time.sleep(0.05)
        request = urllib.request.Request(
            f"{url}/v1/chat/completions",
            json.dumps({**body, "max_tokens": 2}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                replies.append(json.load(reply))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    client = threading.Thread(target=ask)
    client.start()
    calib_command("serve", f"run={run}", f"port={port}", "name=mini")
    client.join()
    assert replies, "the server answered no request"


def elsewhere() -> None:
    """What the hook must notice."""
    with contextlib.suppress(OSError):
        urllib.request.urlopen("http://192.0.2.1/", timeout=1).close()


def main(folder: Path) -> None:
    global step
    run, other = folder / "run", folder / "other"
    steer = ("method=steer", "method.layers=[2]", "method.strengths=[1,2]", *SMALL)
    steps: dict[str, Callable[[], None]] = {
        "import": import_everything,
        "sweep": lambda: calib_command("sweep", *steer, f"out={run}", "report=false"),
        "judge": lambda: judged_by_an_endpoint(run),
        "report": lambda: calib_command("report", f"runs=[{run}]"),
        "plot": lambda: calib_command(
            "plot", f"runs=[{run}]", "figures=[trade_off]", "formats=[svg]"
        ),
        "export": lambda: calib_command("export", f"run={run}", f"out={other}.safetensors"),
        "import a file": lambda: calib_command(
            "import", f"file={other}.safetensors", "format=native", f"out={other}-2.safetensors"
        ),
        "extract": lambda: calib_command(
            "extract", "data.limit=12", "utility.limit=4", "max_new_tokens=4", f"out={folder / 'x'}"
        ),
        "serve": lambda: served(run),
        "elsewhere": elsewhere,
    }
    for name, action in steps.items():
        step = name
        used.setdefault(step, [])
        action()
    print(json.dumps(used))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
