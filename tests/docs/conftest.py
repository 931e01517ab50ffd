"""A folder with every file that shown commands name, and local replacements for the network."""

import csv
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import openai
import pytest
import uvicorn
from benchmark_copies import write
from hub_copies import FOLDERS_OF, load_dataset
from in_process import command, undrawn
from local_endpoint import LocalEndpoint, Request, says
from reader_folder import write_files
from server_thread import wait_until

from calib.serving.http.server import create_server

REFUSAL = "I'm sorry, but I can't help with that."


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file that a command may read, and a small finished run with a labelled sheet."""
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    run = folder / "finished"
    with undrawn():
        for name, *overrides in (
            ("sweep", "method=steer", "method.layers=[2,3]", "method.strengths=[-2,2]",
             "method.positions=all", "data.limit=10", "data.parts=[image_centric]",
             "utility.limit=3", "generation.max_new_tokens=12", f"out={run}"),
            ("judge", f"run={run}", "audit=2"),
            ("dualbench", f"out={folder / 'benchmarks' / 'dualbench'}", "data.per_category=2",
             "data.size=200", f"data.twins={folder / 'TWINS.csv'}"),
        ):  # fmt: skip
            done = command(name, *overrides)
            assert done.code == 0, done.stderr
    sheet = run / "audit" / "sheet.csv"
    with sheet.open(newline="", encoding="utf-8-sig") as file:
        rows = [row | {"label": "answer"} for row in csv.DictReader(file)]
    write(sheet, rows)
    return folder


@pytest.fixture
def folder(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a test, with a copy of the files."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def endpoint() -> Iterator[LocalEndpoint]:
    """A chat endpoint that answers as a judge where a request asks for a verdict."""

    def reply(request: Request) -> Callable[[Any], None]:
        messages = json.dumps(request.body["messages"])
        if "The user's message is one JSON object" not in messages:
            return says(REFUSAL if len(messages) % 2 else "It is a circle. Yes.")
        verdict = {
            "refusal": "none", "harm": "no", "warning": "no", "relevant": "yes",
            "class": "complies", "kind": "direct_answer", "description": "yes",
        }  # fmt: skip
        asked = {key: value for key, value in verdict.items() if f'{key}\\"' in messages}
        return says(json.dumps(asked))

    with LocalEndpoint(by=reply) as server:
        yield server


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hugging Face hub with benchmarks, one direction and one checkpoint; it accepts uploads."""

    class Api:
        def create_repo(self, repo: str, **_: Any) -> str:
            return f"https://hub.example/{repo}"

        def list_repo_files(self, repo: str) -> list[str]:
            return []

        def create_commit(self, repo: str, operations: list, **_: Any) -> None:
            assert operations

    def download(repo: str, **_: Any) -> str:
        return str(folder / "benchmarks" / FOLDERS_OF[repo])

    direction = str(folder / "direction.safetensors")
    original = str(folder / "original")
    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: direction)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(
        "calib.models.checkpoints.original_llava.snapshot_download", lambda *_, **__: original
    )


class Client:
    """Replaces create_server of calib.serving.http: sends one request, then stops the server."""

    def __init__(self) -> None:
        self.send: Callable[[str], None] = send_hello
        """Called with the server's address."""
        self.error: BaseException | None = None

    def __call__(self, app: Any) -> uvicorn.Server:
        server = create_server(app)
        threading.Thread(target=self._visit, args=(server,), daemon=True).start()
        return server

    def _visit(self, server: uvicorn.Server) -> None:
        try:
            wait_until(lambda: server.started, seconds=60)
            port = server.servers[0].sockets[0].getsockname()[1]
            self.send(f"http://127.0.0.1:{port}/v1")
        except BaseException as error:  # raised again where the command was started
            self.error = error
        finally:
            server.should_exit = True


def send_hello(url: str) -> None:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
        name = next(iter(client.models.list())).id
        messages = [{"role": "user", "content": "What is this?"}]
        client.chat.completions.create(model=name, messages=messages, max_tokens=2)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    visitor = Client()
    monkeypatch.setattr("calib.serving.http.server.create_server", visitor)
    yield visitor
    if visitor.error is not None:
        raise visitor.error
