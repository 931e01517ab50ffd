"""Types, values and comments of the configuration in the words of a Markdown page."""

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
    for name, several in GROUPS.items():
        if all(issubclass(one, schema) for one in several.values()) or schema in several.values():
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
        of = group_of(typing.cast(type, hint))
        return f"{link(f'{of}=')} option" if of else link(typing.cast(type, hint).__name__)
    raise TypeError(f"{hint} has no words yet: add it to TYPES")


def written(value: Any) -> str:
    """A value as it stands on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(one)}" for key, one in value.items()) + "}"
    return str(value)


def comment(path: Path) -> str:
    """What a YAML file says first about itself, in one line."""
    lines = path.read_text().splitlines()
    text = [line for line in lines if line != "# @package _global_"]
    first = next(k for k, line in enumerate(text) if not line.startswith("# "))
    return sentence(" ".join(line.removeprefix("# ") for line in text[:first]))


def sentence(text: str) -> str:
    """Running text for a Markdown cell: one line, nothing taken for Markdown or HTML."""
    one = " ".join(text.split())
    return re.sub(r"([|*])", r"\\\1", one).replace("<", "&lt;")


def code(text: str) -> str:
    """Inline code for a Markdown cell."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text if text else ' '}{fence}".replace("|", "\\|")


def link(title: str) -> str:
    shown = f"`{title}`" if "=" in title or "." in title else title
    return f"[{shown}](#{anchor(title)})"


def anchor(title: str) -> str:
    """Where GitHub puts a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def file_link(path: Path) -> str:
    return f"[`{path.stem}`](../conf/{path.parent.name}/{path.name})"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |\n" for row in (head, *rows)]
    lines.insert(1, "|" + "---|" * len(head) + "\n")
    return "".join(lines)
