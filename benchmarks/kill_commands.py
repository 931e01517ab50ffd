"""The commands that the kill harness kills, with the endpoints that two of them need."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.kill_process import CHECKOUT

BATCH = 16
LIMITS = ("data.limit=12", "utility.limit=20")
SWEEP = (
    "calib.sweep", "method=steer", *LIMITS, "method.layers=[2]", "method.strengths=[-1,1,2]",
    "method@reference=none", f"generation.batch_rows={BATCH}", "out=run",
)  # fmt: skip
EXTRACT = ("calib.extract", *LIMITS, f"batch_rows={BATCH}", "out=run")
CONCURRENCY = 4
JUDGE_SECONDS = 0.01
"""Time of each reply of the judge's endpoint."""


@dataclass
class Command:
    """A command to kill, run in a folder of its own."""

    arguments: tuple[str, ...]
    in_flight: int
    """Most rows that one kill can cost."""
    counted: str = "row"
    """Events of the log that are rows made: "row", or "sent" for requests to an endpoint."""
    prepare: Callable[[Path], None] = lambda folder: None
    """Puts what the command needs into its folder."""
    is_ordered: bool = True
    """Whether rows.jsonl has one order; a remote model's rows are in the order of arrival."""
    server: "Served | None" = None
    """The model behind the endpoint, which is killed too."""


def sweep() -> Command:
    settings = 4  # rows of a prompt stay together
    return Command(SWEEP, 4 * BATCH + settings)


def extract() -> Command:
    return Command(EXTRACT, 4 * BATCH + 2)


def judge(finished: Path, url: str) -> Command:
    """Judging of the run in ``finished`` by a language model at ``url``."""

    def prepare(folder: Path) -> None:
        shutil.copytree(finished, folder / "run")

    arguments = (
        "calib.judge", "run=run", "judge=llm", "judge.models=[stand-in]", f"judge.base_url={url}",
        "judge.key_env=CALIB_KILL_KEY", f"judge.concurrency={CONCURRENCY}",
    )  # fmt: skip
    return Command(arguments, 64, "sent", prepare)


def remote(server: "Served") -> Command:
    """A sweep of the model that ``server`` serves."""
    arguments = (
        "calib.sweep", "model=vllm", f"model.model={server.model}", "method=reminder",
        f"model.base_url={server.url}", f"model.concurrency={CONCURRENCY}", *LIMITS,
        "generation.max_new_tokens=16", "out=run",
    )  # fmt: skip
    return Command(arguments, CONCURRENCY, "sent", is_ordered=False, server=server)


class Served:
    """mini-internvl behind calib.serve in a process of its own, always at the same port."""

    def __init__(self, log: Path) -> None:
        self._log, self._process, self.port = log, None, 0
        self.start()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        with urllib.request.urlopen(f"{self.url}/models", timeout=60) as reply:
            self.model = str(json.load(reply)["data"][0]["id"])

    def start(self) -> None:
        """Start the server and wait until it accepts requests."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "calib.serve", "model=internvl", "method=none",
                 f"port={self.port}"],
                cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=log, encoding="utf-8",
            )  # fmt: skip
        lines = self._process.stdout
        assert lines is not None
        for line in lines:
            if line.startswith("serving"):
                self.port = int(line.split()[1].rpartition(":")[2].partition("/")[0])
            if "Ctrl-C" in line:
                return
        sys.exit(f"calib.serve did not start: {self._log.read_text(encoding='utf-8')}")

    def kill(self) -> None:
        """Send SIGKILL to the server."""
        self._process.kill()
        self._process.wait()


@contextmanager
def judge_endpoint() -> Iterator[str]:
    """The address of an endpoint whose verdicts depend on the request alone."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(JUDGE_SECONDS)
            digest = hashlib.sha256(body).digest()
            content = {
                "reason": "made up",
                "refusal": ("none", "partial", "full")[digest[0] % 3],
                "harm": ("yes", "no")[digest[1] % 2],
                "warning": ("yes", "no")[digest[2] % 2],
                "relevant": "yes",
            }
            message = {"role": "assistant", "content": json.dumps(content)}
            completion = {
                "id": "1", "object": "chat.completion", "created": 0, "model": "stand-in",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }  # fmt: skip
            data = json.dumps(completion).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:  # a killed client
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
