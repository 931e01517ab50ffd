"""What is not on this machine, as commands find it: checkpoints of the hub, the hub, endpoints of
providers, and clients of a server."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import uvicorn
from commands_at_hand import family_of
from local_endpoint import Request, says
from what_works import saved

from calib.config.model import ModelConfig
from calib.config.sweep import SweepConfig
from calib.models.load import VLM, fingerprint, load
from calib.serving.server import create_server

ROOT = Path(__file__).resolve().parents[2]
REFUSAL = "I'm sorry, but I can't help with that."
MINI = ModelConfig("internvl")


class Checkpoints:
    """calib.models.load.load with a tiny model of the right family in place of one on the hub; each
    is built, saved and loaded once. Models are shared between commands: nothing is written to one
    but picture features by their content, and edits are hooks that a run takes off again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: dict[str, VLM] = {}
        self._ran: dict[str, str] = {}
        self.shared = True
        """Whether what was loaded is given again; format=baked writes into the weights."""

    def path(self, checkpoint: str) -> str:
        """Where a checkpoint of the hub lies; a folder that there is stays itself."""
        for folder in (Path(checkpoint), ROOT / checkpoint):
            if folder.is_dir():
                return str(folder)
        family = family_of(checkpoint)
        if not (self.folder / family).exists():
            saved(family, self.folder / family)
        return str(self.folder / family)

    def _here(self, model: ModelConfig) -> ModelConfig:
        if model.checkpoint is None:
            return model
        # Quantization and several devices need a GPU.
        here = {"quantization": None, "device_map": None, "revision": None}
        return dataclasses.replace(model, checkpoint=self.path(model.checkpoint), **here)

    def load(self, model: ModelConfig) -> VLM:
        if isinstance(model, ModelConfig):
            model = self._here(model)
        if not self.shared:
            return load(model)
        if repr(model) not in self._loaded:
            self._loaded[repr(model)] = load(model)
        return self._loaded[repr(model)]

    def same(self, run: Any, text: str) -> str | None:
        """The command that ran with this configuration; None notes it as run by ``text``."""
        if not isinstance(run, SweepConfig):
            return None
        model = run.model
        if isinstance(model, ModelConfig):
            model = dataclasses.replace(self._here(model), name="")
        first = self._ran.setdefault(repr(dataclasses.replace(run, model=model)), text)
        return None if first == text else first

    def check(self) -> None:
        """Nobody wrote into the weights of a model that is shared."""
        for model, vlm in self._loaded.items():
            now = fingerprint(vlm.model, vlm.processor, vlm.tiles)
            assert now == vlm.fingerprint, f"the weights of {model} were changed"


class Hub:
    """A hub with one direction, that takes whatever is pushed."""

    def __init__(self, direction: Callable[[], str]) -> None:
        self.direction, self.pushed = direction, {}

    def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> str:
        return f"https://hub.example/{repo}"

    def list_repo_files(self, repo: str) -> list[str]:
        return []

    def create_commit(self, repo: str, operations: list, *, commit_message: str) -> None:
        self.pushed[repo] = sorted(one.path_in_repo for one in operations)

    def download(self, repo: str, file: str, *, revision: str | None) -> str:
        return self.direction()


def answer(request: Request) -> Callable:
    """What any endpoint says: a verdict to a judge, a refusal or an answer to everybody else."""
    asked = json.dumps(request.body["messages"])
    if "The user's message is one JSON object" in asked:
        verdict = {"refusal": "none", "harm": "no", "warning": "no", "relevant": "yes"}
        named = {"class": "complies", "kind": "direct_answer", "description": "yes"}
        wanted = (verdict | named).items()
        return says(json.dumps({key: value for key, value in wanted if f'{key}\\"' in asked}))
    return says(REFUSAL if len(asked) % 2 else "It is a circle. Yes.")


class Client:
    """Asks every server once, as soon as it listens, and stops it: in the place of
    calib.serving.server.create_server."""

    def __init__(self) -> None:
        self.ask: Callable[[str], None] = self._hello
        """What is done with a server's address."""
        self.failed: BaseException | None = None

    def __call__(self, app: Any) -> uvicorn.Server:
        server = create_server(app)
        threading.Thread(target=self._visit, args=(server,), daemon=True).start()
        return server

    def _visit(self, server: uvicorn.Server) -> None:
        try:
            until = time.monotonic() + 60
            while not server.started and time.monotonic() < until:
                time.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            self.ask(f"http://127.0.0.1:{port}/v1")
        except BaseException as error:  # told where the command was given
            self.failed = error
        finally:
            server.should_exit = True

    @staticmethod
    def _hello(url: str) -> None:
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
            name = next(iter(client.models.list())).id
            said = [{"role": "user", "content": "What is this?"}]
            client.chat.completions.create(model=name, messages=said, max_tokens=2)
