"""Types, values and comments of the configuration as Markdown."""

import dataclasses
import re
import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from calib.config.schemas import GROUPS

TYPES = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "true or false",
    Any: "see meaning",
}


def group_of(schema: type) -> str | None:
    """The group whose options all extend ``schema``."""
    for name, schemas in GROUPS.items():
        if all(issubclass(cls, schema) for cls in schemas.values()) or schema in schemas.values():
            return name
    return None


def type_text(hint: Any) -> str:
    """A type in words."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, UnionType):
        kinds = [type_text(part) for part in parts if part is not NoneType]
        return " or ".join([*kinds, *(["null"] if NoneType in parts else [])])
    if typing.get_origin(hint) is list:
        return f"list of {type_text(parts[0])}s"
    if typing.get_origin(hint) is dict:
        return f"{type_text(parts[1])}s by name" if dataclasses.is_dataclass(parts[1]) else "table"
    if hint in TYPES:
        return TYPES[hint]
    if dataclasses.is_dataclass(hint):
        group = group_of(typing.cast(type, hint))
        return f"{link(f'{group}=')} option" if group else link(typing.cast(type, hint).__name__)
    raise TypeError(f"{hint} has no text: add it to TYPES")


def written(value: Any) -> str:
    """A value in command-line notation."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(item)}" for key, item in value.items()) + "}"
    return str(value)


def comment(path: Path) -> str:
    """The first paragraph of a YAML file's comment, in one line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    text = [line for line in lines if line != "# @package _global_"]
    first = next(k for k, line in enumerate(text) if not line.startswith("# "))
    return sentence(" ".join(line.removeprefix("# ") for line in text[:first]))


def sentence(text: str) -> str:
    """Text for a Markdown cell: one line, with Markdown and HTML escaped."""
    line = " ".join(text.split())
    return re.sub(r"([|*])", r"\\\1", line).replace("<", "&lt;")


def code(text: str) -> str:
    """Inline code for a Markdown cell."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text if text else ' '}{fence}".replace("|", "\\|")


def link(title: str) -> str:
    shown = f"`{title}`" if "=" in title or "." in title else title
    return f"[{shown}](#{anchor(title)})"


def anchor(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def file_link(path: Path) -> str:
    return f"[`{path.stem}`](../conf/{path.parent.name}/{path.name})"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |\n" for row in (head, *rows)]
    lines.insert(1, "|" + "---|" * len(head) + "\n")
    return "".join(lines)
