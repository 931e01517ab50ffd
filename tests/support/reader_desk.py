"""Where a reader sits: a folder with every file that the shown commands name."""

import base64
import dataclasses
import importlib
import io
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import tiny_classifiers
import utility_tables
from benchmark_copies import local
from commands_at_hand import Command, arguments, larger
from hydra import compose, initialize_config_dir
from in_process import command
from named_files import FILES, narrow_gguf
from omegaconf import OmegaConf
from original_llava import pair
from random_directions import direction_at
from stand_ins import MINI, Checkpoints, Client

from calib.config.schemas import CONF, register
from calib.directions.direction import write_direction
from calib.util.errors import CalibError

REMOTE = ("gpt", "claude", "gemini", "openrouter", "vllm")
CLASSIFIERS: dict[str, Callable[[Path], Path]] = {
    "distilroberta": lambda folder: tiny_classifiers.sequence(
        folder, id2label={0: "NORMAL", 1: "REJECTION"}
    ),
    "qwen3guard": tiny_classifiers.guard,
    "classifier": lambda folder: tiny_classifiers.sequence(
        folder, id2label={0: "REFUSED", 1: "ANSWERED"}
    ),
}


def main_of(name: str) -> Callable[[Any], None]:
    """The entry point behind ``python -m calib.NAME``."""
    module = importlib.import_module(f"calib.{name}")
    if not hasattr(module, "main"):  # a package
        module = importlib.import_module(f"calib.{name}.__main__")
    return module.main


class Desk:
    """The reader's folder, which is the current one, and the way to give a command there."""

    def __init__(
        self, folder: Path, copies: Path, checkpoints: Checkpoints, finished: Path, url: str
    ) -> None:
        self.folder, self.copies, self.url = folder, copies, url
        self.checkpoints, self.finished = checkpoints, finished
        self.client = Client()

    def run(self, text: str) -> str:
        """Give a shown command with its placeholders filled in and its sizes cut; what it says.

        Its configuration is composed and handed to the entry point, as calib.cli does it, but
        composed once and not three times: that is as long as the rest takes. A sweep that is, but
        for the names of model and checkpoint, one that ran before is not run again.
        """
        shown = Command(text)
        given = arguments(shown)
        for word in given:
            self._lay_out(word)
        if "audit" in shown.said:  # the sheet is what the command is to write
            shutil.rmtree(self.folder / shown.said["run"] / "audit")
        if shown.name == "export" and "model.dtype" in shown.said:
            # The model is told by its weights, which are others in another type.
            model = dataclasses.replace(MINI, dtype=shown.said["model.dtype"])
            write_direction(
                self.folder / "direction.safetensors",
                direction_at(self.checkpoints.load(model), [3]),
            )
        if shown.name == "import" and "model.checkpoint" in shown.said:
            # Of the width of the tiny model, not of mini-internvl.
            narrow_gguf(self.folder / "vector.gguf")
        self.checkpoints.shared = shown.name != "export"
        words = [*self._here(given), *self._instead(shown)]
        if any(word.startswith("-") for word in words):
            done = command(shown.name, *words)
            assert done.code == 0, done.stderr
            return done.stdout
        try:
            return self._call(shown, words)
        except CalibError as error:
            if shown.name != "sweep" or error.code != "too-few":
                raise
            return self._call(shown, words + larger(shown))

    def _call(self, shown: Command, words: list[str]) -> str:
        """The output of the entry point, called in this process."""
        register()
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            composed = OmegaConf.to_object(compose(shown.name, words))
        before = self.checkpoints.same(composed, shown.text)
        if before is not None:
            return f"the run of {before} again"
        said = io.StringIO()
        with redirect_stdout(said):
            main_of(shown.name)(composed)
        if self.client.failed is not None:
            raise self.client.failed
        return said.getvalue()

    def files(self) -> set[Path]:
        return {path for path in self.folder.rglob("*") if path.is_file()}

    @property
    def data_url(self) -> str:
        """A picture as clients send it."""
        return f"data:image/png;base64,{base64.b64encode(utility_tables.png('red')).decode()}"

    def _lay_out(self, word: str) -> None:
        """Put the files that a setting names into the folder."""
        key, _, value = word.partition("=")
        for name in re.findall(r"[\w ]*runs/[\w=]+", value) if key in ("run", "runs") else ():
            shutil.copytree(self.finished, self.folder / name.strip(), dirs_exist_ok=True)
        if value in FILES:
            self.file(value)

    def file(self, name: str) -> str:
        """The path of a file that commands name, written where it is not there yet."""
        path = self.folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            FILES[name](path, self.checkpoints)
        return str(path)

    def _here(self, given: list[str]) -> list[str]:
        """The words with the folders of benchmarks and question sets in place of FOLDER or PATH."""
        said = dict(word.partition("=")[::2] for word in given)
        found = []
        for word in given:
            if word in ("data.root=FOLDER", "data.root=PATH"):
                word = f"data.root={self._benchmark(said['data'])}"
            elif word == "utility.root=FOLDER":
                root = self.copies / "utility" / said["utility"]
                if not root.exists():
                    root.mkdir(parents=True)
                    utility_tables.write_copy(root, said["utility"])
                word = f"utility.root={root}"
            found.append(word)
        return found

    def _benchmark(self, name: str) -> Path:
        folder = self.copies / "data" / name
        if name == "dualbench" and not folder.exists():
            small = ("data.per_category=2", "data.size=200", f"data.twins={self.file('TWINS.csv')}")
            done = command("dualbench", f"out={folder}", *small)
            assert done.code == 0, done.stderr
        return folder if name == "dualbench" else local(name, folder)

    def _instead(self, shown: Command) -> list[str]:
        """Settings that point to this machine where the command's point to another."""
        said, instead = shown.said, []
        if shown.name == "sweep" and said.get("model") in REMOTE:
            instead.append(f"model.base_url={self.url}")
        if said.get("judge", "").startswith("llm"):
            instead.append(f"judge.base_url={self.url}")
        if said.get("judge") in CLASSIFIERS:
            folder = self.copies / "judges" / said["judge"]
            if not folder.exists():
                CLASSIFIERS[said["judge"]](folder)
            instead.append(f"judge.checkpoint={folder}")
        if said.get("judge") == "qwen3guard":  # what a guard of random weights writes means nothing
            instead.append("judge.labels=[{pattern:'.',label:answer}]")
        if shown.name == "convert":
            skeleton = self.copies / "skeleton"
            if not skeleton.exists():
                pair()[1].save_pretrained(skeleton)
                pair()[2].save_pretrained(skeleton)
            instead.append(f"skeleton={skeleton}")
        if shown.name == "serve":
            instead.append("port=0")
        return instead
