"""Checkpoints that a command of the repository builds, by the name of their folder."""

import shlex
from pathlib import Path

BUILDS = {
    "smolvlm_emoji": "python -m experiments.smolvlm_emoji.build",
    "smolvlm_emoji_guard": "python -m experiments.smolvlm_emoji.build guard=true",
}
"""Commands to run in a checkout: a wheel has no experiments."""


def build_command(folder: Path) -> str | None:
    """The command that writes the checkpoint to ``folder``, quoted for a POSIX shell; None if no
    command of the repository builds it."""
    command = BUILDS.get(folder.name)
    return None if command is None else f"{command} {shlex.quote(f'out={folder.resolve()}')}"
