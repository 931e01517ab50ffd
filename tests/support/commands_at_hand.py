"""A shown command as it is run in a test: placeholders filled in, sizes cut, the rest as it stands.

    arguments("python -m calib.sweep data=siuo data.root=FOLDER")
    # ["data=siuo", "data.root=COPIES/siuo", "data.limit=8", ...]

What a command says itself about layers, strengths and variants stays; only how much is asked is
cut.
"""

import dataclasses
import itertools
import re
import shlex

import yaml
from configuration_settings import schema_of

from calib.config.method import Activation, Combine
from calib.config.prompts import Calibration, NoneMethod
from calib.config.schemas import CONF

PLACEHOLDERS = {
    "run": {"FOLDER": "runs/NAME"},
    "direction": {"FILE": "direction.safetensors"},
    "method.direction": {"FILE": "direction.safetensors"},
    "format": {"FORMAT": "gguf", "NAME": "gguf"},
    "file": {"FILE": "vector.gguf"},
    "out": {"FILE": "vector_out.gguf"},
    "check": {"FILE": "labelled.csv"},
    "model": {"OPTION": "llava_1_5"},
    "source": {"PATH": "original"},
    "judge": {"NAME": "string"},
    "layers": {"[12]": "[3]"},  # mini-internvl has six
    "data.file": {"PAIRS.csv": "pairs.csv"},
}
"""By the setting, what stands for what; paths are in the reader's folder."""

SIZES = ["data.limit=3", "utility.limit=2", "generation.max_new_tokens=3"]
TINY = ["data.limit=2", "utility.limit=3", "generation.max_new_tokens=2"]
"""For the models of other families, of which it is to be seen that they load and are swept."""
ENOUGH = ["data.limit=10", "generation.max_new_tokens=12"]
"""Sizes at which mini-internvl refuses some pictures and answers others, for methods that are
fitted to its refusals. For other data it needs more: ENOUGH_ELSEWHERE."""
ENOUGH_ELSEWHERE = ["data.limit=16", "generation.max_new_tokens=12"]
KEPT = ("few_shot", "steer", "vlm_guard")
"""The methods that experiment=all_methods is cut down to: of the prompt, by layers, at once."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of calib's, as it is shown."""

    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)

    @property
    def name(self) -> str:
        """Of the entry point: sweep, judge, ..."""
        return self.words[2].removeprefix("calib.")

    @property
    def said(self) -> dict[str, str]:
        """The command's own settings."""
        pairs = (word.lstrip("+").partition("=") for word in self.words[3:] if "=" in word)
        return {key: value for key, _, value in pairs}


def arguments(command: Command) -> list[str]:
    """What is given to the entry point."""
    filled = [_filled(word) for word in command.words[3:]]
    cut = {"sweep": _sweep, "extract": _extract, "dualbench": _dualbench}.get(command.name)
    return filled + (cut(command.said) if cut else [])


def larger(command: Command) -> list[str]:
    """Sizes for a sweep whose method had too few refusals or answers to be fitted to."""
    return ENOUGH if command.said.get("data", "mini") == "mini" else ENOUGH_ELSEWHERE


def _filled(word: str) -> str:
    key, sign, value = word.partition("=")
    return f"{key}{sign}{PLACEHOLDERS.get(key, {}).get(value, value)}"


def _sweep(said: dict[str, str]) -> list[str]:
    experiment, method = said.get("experiment"), said.get("method", "steer")
    several = {k.partition("methods.")[2]: v for k, v in said.items() if "@methods." in k}
    mini, other = said.get("data", "mini") == "mini", said.get("model", "internvl") != "internvl"
    cut = [*(TINY if other else SIZES), "method@reference=none"]
    if mini and "data.parts" not in said:
        cut.append(f"data.parts=[{'text' if other else 'image'}_centric]")
    if other and "utility" not in said:
        cut.append("utility=none")
    if said.get("data") == "mossbench":
        cut.append("data.validation=0.5")  # its licence leaves it no train split
    if said.get("data") == "dualbench":
        cut += ["data.per_category=2", "data.size=200", "data.validation=0.5"]
    if "," in method:
        return [*cut, "method.strengths=[1]"]
    if several:
        grids = [_grid(f"methods.{at}", name, said) for at, name in several.items()]
        return [*cut, *itertools.chain(*grids)]
    if experiment is None:
        return cut + _grid("method", method, said)
    lines = yaml.safe_load((CONF / "experiment" / f"{experiment}.yaml").read_text())["defaults"]
    names = [name for line in lines for key, name in line.items() if key.startswith("/method@")]
    kept = [name for name in names if experiment != "all_methods" or name in KEPT]
    cut += [f"~methods.{name}" for name in names if name not in kept]
    if not mini:
        # On other pictures than its own mini-internvl does not refuse and answer one query.
        cut += [f"methods.{name}.samples=safety" for name in kept if name.startswith("iar_")]
    return cut + [one for name in kept for one in _grid(f"methods.{name}", name, said)]


def _grid(at: str, method: str, said: dict[str, str]) -> list[str]:
    """One layer and one strength, where the command does not name its own."""
    schema = schema_of(CONF / "method" / f"{method}.yaml", "method")
    if issubclass(schema, NoneMethod):
        return []
    if issubclass(schema, Combine):
        inner = said.get(f"method@{at}.activation", "steer")
        return _grid(f"{at}.activation", inner, said)
    own = yaml.safe_load((CONF / "method" / f"{method}.yaml").read_text())
    cut = []
    if (
        issubclass(schema, Activation)
        and not own.get("all_layers_at_once")
        and f"{at}.layers" not in said
    ):
        cut.append(f"{at}.layers=[3]")
    if issubclass(schema, Calibration) and not {f"{at}.strengths", f"{at}.kl"} & said.keys():
        cut.append(f"{at}.strengths=[1]")
    return cut


def _extract(said: dict[str, str]) -> list[str]:
    cut = ["data.limit=6", "utility.limit=2", "max_new_tokens=8"]
    if said.get("contrast") == "refusal":
        cut += ["data.limit=20", "max_new_tokens=12"]
    return cut if "layers" in said else [*cut, "layers=[3]"]


def _dualbench(_: dict[str, str]) -> list[str]:
    return ["data.per_category=1", "data.size=160"]


def family_of(checkpoint: str) -> str:
    """The family in tests/support/tiny_families.py that stands in for a checkpoint on the hub."""
    families = {
        r"InternVL": "internvl", r"gemma-3": "gemma3", r"Idefics3": "idefics3",
        r"llava-1\.5|llava-v1\.5": "llava", r"llava-v1\.6": "llava_next",
        r"llava-onevision": "llava_onevision", r"Mistral-Small-3": "mistral3",
        r"Llama-3\.2-.*-Vision": "mllama", r"paligemma": "paligemma",
        r"Qwen2\.5-VL": "qwen2_5_vl", r"Qwen2-VL": "qwen2_vl", r"Qwen3-VL": "qwen3_vl",
        r"SmolVLM2": "smolvlm", r"^(ID_OR_PATH|PATH|FOLDER)$": "internvl",
    }  # fmt: skip
    for pattern, family in families.items():
        if re.search(pattern, checkpoint):
            return family
    return "internvl"
