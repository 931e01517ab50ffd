"""Find and build the judge that a configuration names; a judge is one file of this folder."""

import importlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from calib.config.extensions import extensions
from calib.config.judge import JudgeConfig, LlmJudge
from calib.config.model import PACKAGED
from calib.judges.extension_judges import extension_judge
from calib.judges.judge import Judge
from calib.util.errors import CalibError, did_you_mean

AUTO = "auto"


def judge_names() -> list[str]:
    """The names of all judges: "auto", the files of this folder with a function ``build``, and
    those of other packages."""
    files = Path(__file__).parent.glob("*.py")
    own = {file.stem for file in files if "\ndef build(" in file.read_text(encoding="utf-8")}
    return [AUTO, *sorted(own | extensions("judge").keys())]


def check_judge(config: JudgeConfig, data: str) -> None:
    """Raise CalibError if the judge does not exist or cannot judge ``data``.

    ``data`` is the name of a benchmark, or "" for a table of responses without a run.
    """
    check = None if config.name == AUTO else getattr(_file(config), "check", None)
    if check is not None:
        extension = extensions("judge").get(_name(config))
        with extension.running("check") if extension else nullcontext():
            check(config, data)


def choose_judge(config: JudgeConfig, data: str, checkpoint: str | None) -> Judge:
    """Build the judge that ``config`` names for responses of ``checkpoint`` to ``data``.

    "auto" is ``rules`` for a packaged model in its own world and ``string`` otherwise. Raises
    CalibError if the judge does not exist or cannot judge ``data``, if its model cannot be loaded,
    and if its API key is missing.
    """
    if config.name == AUTO:
        exact = checkpoint in PACKAGED and PACKAGED[checkpoint] == data
        config = JudgeConfig("rules" if exact else "string")
    check_judge(config, data)
    if extension := extensions("judge").get(_name(config)):
        return extension_judge(extension, config)
    judge: Judge = _file(config).build(config)
    return judge


def sees_pictures(config: JudgeConfig) -> bool:
    """Whether the judge is shown the pictures as well as the text."""
    return isinstance(config, LlmJudge) and config.image


def _name(config: JudgeConfig) -> str:
    return config.file or config.name


def _file(config: JudgeConfig) -> Any:
    name, names = _name(config), judge_names()
    if name not in names:
        raise CalibError(
            "unknown-name",
            f"judge={name} has no file in calib/judges.{did_you_mean(name, names)} "
            f"Choose from {', '.join(names)}.",
        )
    if extension := extensions("judge").get(name):
        return extension.module
    return importlib.import_module(f"calib.judges.{name}")
