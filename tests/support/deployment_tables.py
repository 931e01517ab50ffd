"""The tables of docs/deploying.md: how each method, and each model, can be deployed.

    python tests/support/deployment_tables.py

writes them between their marks in the page. tests/report/advice/test_deployment.py fails if they
are out of date.
"""

import re
from pathlib import Path

import yaml
from configuration_words import table

from calib import methods
from calib.config.model import RemoteModelConfig
from calib.config.prompts import Prompting
from calib.config.schemas import CONF, GROUPS
from calib.report.advice.deployment import WAYS, method_ways, model_ways

PAGE = Path(__file__).parents[2] / "docs" / "deploying.md"
HEAD = {
    "serve": "`calib.serve`",
    "prompt": "the prompt, in any server",
    "vLLM": "vLLM",
    "baked": "a checkpoint (`format=baked`)",
}
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


def schema(group: str, option: str) -> type:
    """The dataclass of an option, without composing it."""
    text = (CONF / group / f"{option}.yaml").read_text(encoding="utf-8")
    extended = next(each for each in yaml.safe_load(text)["defaults"] if isinstance(each, dict))
    return GROUPS[group][extended[f"/hydra/schema/{group}@_here_"]]


def ways_of_method(name: str) -> dict[str, str]:
    return method_ways(name, issubclass(schema("method", name), Prompting))


def ways_of_model(option: str) -> dict[str, str]:
    return model_ways(option, issubclass(schema("model", option), RemoteModelConfig))


def grouped(what: str, ways: dict[str, dict[str, str]]) -> str:
    """A table with one row for all names whose ways are the same."""
    names: dict[tuple[str, ...], list[str]] = {}
    for name, own in ways.items():
        names.setdefault(tuple(own[way] for way in WAYS), []).append(f"`{name}`")
    rows = [(" ".join(listed), *cells) for cells, listed in names.items()]
    return table((what, *(HEAD[way] for way in WAYS)), rows)


def with_tables(text: str) -> str:
    """The page's text with both tables."""
    for mark, made in (
        ("methods", grouped("method", {name: ways_of_method(name) for name in methods.names()})),
        ("models", grouped("model=", {name: ways_of_model(name) for name in MODELS})),
    ):
        pattern = rf"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)"
        text, count = re.subn(pattern, rf"\g<1>{made}\g<2>", text, flags=re.S)
        assert count == 1, mark
    return text


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
