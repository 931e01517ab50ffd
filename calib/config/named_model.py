"""The name of a model in figures, tables and reports, which has no path of the user's machine."""

import os
import re
from functools import cache
from pathlib import PurePath

import yaml

from calib.config.schemas import CONF

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_OF_A_PROVIDER = re.compile(r"([\w-]{2,}:)(.+)", re.DOTALL)
"""The checkpoint of a remote model: its provider and the id at the endpoint, which for a server of
one's own may be a folder."""
_ROOTED = re.compile(r"[/\\~.]|[A-Za-z]:[/\\]")


def model_name(checkpoint: str) -> str:
    """The name of the model of ``checkpoint``.

    An id of the hub, an id at an endpoint and a model that ships with calib keep theirs. A folder
    that an option of model= builds has the name of the option; any other folder its own name.
    """
    if not checkpoint:
        return ""
    if remote := _OF_A_PROVIDER.fullmatch(checkpoint):
        provider, name = remote.groups()
        return provider + (_last_part(name) if _ROOTED.match(name) else name)
    if option := _built_by_options().get(PurePath(checkpoint)):
        return option
    is_id = _HUB_ID.fullmatch(checkpoint) and not os.path.isdir(checkpoint)  # noqa: PTH112
    return checkpoint if is_id else _last_part(checkpoint)


def _last_part(path: str) -> str:
    if not re.search(r"[^/\\~.]", path):  # ".", ".." and "~" have no name of their own
        path = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or "unnamed"


@cache
def _built_by_options() -> dict[PurePath, str]:
    """The options of model= whose checkpoint is a folder, which their users build, by folder."""
    options = {}
    for file in sorted((CONF / "model").glob("*.yaml")):
        settings = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        checkpoint = str(settings.get("checkpoint") or "")
        if checkpoint.startswith("./"):
            options[PurePath(checkpoint)] = file.stem
    return options
